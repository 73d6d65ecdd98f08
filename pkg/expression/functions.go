package expression

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

type function struct {
	call       func(arguments ...any) (any, error)
	signatures []any
}

// builtins are the library's own functions that are pure, give the same order every
// time, and whose work is bounded by their input (uniq is quadratic, repeat and concat grow).
func builtins() []string {
	return strings.Fields(`all any none one filter map find findIndex findLast findLastIndex count sum reduce sortBy
		first last take reverse sort type abs ceil floor round int float trimPrefix trimSuffix split indexOf lastIndexOf
		hasPrefix hasSuffix max min mean median`)
}

func functionNames() []string {
	names := builtins()
	for name := range functions() {
		if !strings.HasPrefix(name, "$") {
			names = append(names, name)
		}
	}
	return names
}

func known(name string) bool { return slices.Contains(functionNames(), name) }

func functions() map[string]function {
	one, two := []any{new(func(any) any)}, []any{new(func(any, any) any)}
	out := map[string]function{
		getName:       {func(a ...any) (any, error) { return get(a[0], a[1]) }, two},
		tickName:      {tick, two},
		"len":         {length, []any{new(func(any) int)}},
		"keys":        {keys, one},
		"string":      {func(a ...any) (any, error) { return textOrNil(a[0]) }, one},
		"trim":        {onText(strings.TrimSpace), one},
		"upper":       {onText(strings.ToUpper), one},
		"lower":       {onText(strings.ToLower), one},
		"sha256":      {onText(digest), one},
		"join":        {join, two},
		"replace":     {replace, []any{new(func(any, any, any) any)}},
		"parse_time":  {parseTime, two},
		"format_time": {formatTime, two},
	}
	for op, f := range operators() {
		signature := []any{new(func(any, any) any)}
		if strings.ContainsAny(op, "=<>") {
			signature = []any{new(func(any, any) bool)}
		}
		out[operatorName(op)] = function{func(a ...any) (any, error) { return f(a[0], a[1]) }, signature}
	}
	return out
}

func operators() map[string]func(a, b any) (any, error) {
	ordered := func(holds func(int) bool) func(a, b any) (any, error) {
		return func(a, b any) (any, error) {
			c, err := order(a, b)
			return err == nil && holds(c), err
		}
	}
	return map[string]func(a, b any) (any, error){
		"==": func(a, b any) (any, error) { return equal(a, b), nil },
		"!=": func(a, b any) (any, error) { return !equal(a, b), nil },
		"<":  ordered(func(c int) bool { return c < 0 }),
		"<=": ordered(func(c int) bool { return c <= 0 }),
		">":  ordered(func(c int) bool { return c > 0 }),
		">=": ordered(func(c int) bool { return c >= 0 }),
		"+":  add,
		"-":  func(a, b any) (any, error) { return arithmetic("subtract", a, b) },
		"*":  func(a, b any) (any, error) { return arithmetic("multiply", a, b) },
		"/":  divide,
	}
}

// get reads a field of an object or an element of a list; nothing gives nothing.
func get(of, at any) (any, error) {
	switch of := of.(type) {
	case nil:
		return nil, nil
	case map[string]any:
		name, ok := at.(string)
		if !ok {
			return nil, fmt.Errorf("a field's name must be a text, not %s", kind(at))
		}
		return of[name], nil
	case map[string]string:
		name, ok := at.(string)
		if !ok {
			return nil, fmt.Errorf("a field's name must be a text, not %s", kind(at))
		}
		if value, ok := of[name]; ok {
			return value, nil
		}
		return nil, nil
	case []any:
		return element(of, at)
	}
	what := "an element"
	if _, ok := at.(string); ok {
		what = "a field" // not its name, which may come from the record
	}
	return nil, fmt.Errorf("cannot read %s of %s", what, kind(of))
}

func element(list []any, at any) (any, error) {
	i, ok := at.(int)
	if !ok {
		return nil, fmt.Errorf("a list is indexed by a whole number, not %s", kind(at))
	}
	if i < 0 {
		i += len(list)
	}
	if i < 0 || i >= len(list) {
		return nil, nil
	}
	return list[i], nil
}

type budget struct{ left int }

// tick is called with the result of every predicate evaluation.
func tick(a ...any) (any, error) {
	b, ok := a[0].(*budget)
	if !ok {
		return nil, errors.New("no budget for predicates")
	}
	if b.left--; b.left < 0 {
		return nil, fmt.Errorf("too much work: more than %d predicate evaluations", MaxRounds)
	}
	return a[1], nil
}

func add(a, b any) (any, error) {
	x, ok := a.(string)
	if !ok {
		return arithmetic("add", a, b)
	}
	y, ok := b.(string)
	if !ok {
		return nil, fmt.Errorf("cannot add %s to a text; use string(…)", kind(b))
	}
	if len(x)+len(y) > MaxTextBytes {
		return nil, errTextTooLong
	}
	return x + y, nil
}

var errTextTooLong = fmt.Errorf("the text would be longer than %d bytes", MaxTextBytes)

func arithmetic(act string, a, b any) (any, error) {
	x, whole := a.(int)
	y, also := b.(int)
	if whole && also {
		out, ok := wholeNumbers(act, x, y)
		if !ok {
			return nil, fmt.Errorf("cannot %s these numbers: the result does not fit 64 bits", act)
		}
		return out, nil
	}
	f, ok := small(a)
	g, also := small(b)
	if !ok || !also {
		return nil, fmt.Errorf("cannot %s %s and %s%s", act, kind(a), kind(b), longNumber(a, b))
	}
	switch act {
	case "add":
		f += g
	case "subtract":
		f -= g
	default:
		f *= g
	}
	return f, nil
}

func longNumber(a, b any) string {
	if isNumber(a) && isNumber(b) {
		return ": one has too many digits to be exact"
	}
	return ""
}

func wholeNumbers(act string, x, y int) (int, bool) {
	switch act {
	case "add":
		sum := x + y
		return sum, (sum > x) == (y > 0)
	case "subtract":
		out := x - y
		return out, (out < x) == (y > 0)
	}
	high, low := bits.Mul64(magnitude(x), magnitude(y))
	negative := (x < 0) != (y < 0)
	if high != 0 || low > math.MaxInt64 {
		return 0, false
	}
	if negative {
		return -int(low), true
	}
	return int(low), true
}

func magnitude(x int) uint64 {
	if x < 0 {
		return -uint64(x)
	}
	return uint64(x)
}

func divide(a, b any) (any, error) {
	f, ok := small(a)
	g, also := small(b)
	if !ok || !also {
		return nil, fmt.Errorf("cannot divide %s by %s%s", kind(a), kind(b), longNumber(a, b))
	}
	if g == 0 {
		return nil, errors.New("cannot divide by zero")
	}
	return f / g, nil
}

func length(a ...any) (any, error) {
	switch v := a[0].(type) {
	case nil:
		return 0, nil
	case string:
		return utf8.RuneCountInString(v), nil
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	case map[string]string:
		return len(v), nil
	}
	return nil, fmt.Errorf("len does not work on %s", kind(a[0]))
}

// keys are sorted, since a map has no order and a retry must send the same bytes.
func keys(a ...any) (any, error) {
	var names []string
	switch v := a[0].(type) {
	case nil:
	case map[string]any:
		names = slices.Sorted(maps.Keys(v))
	case map[string]string:
		names = slices.Sorted(maps.Keys(v))
	default:
		return nil, fmt.Errorf("keys does not work on %s", kind(a[0]))
	}
	out := make([]any, len(names))
	for i, name := range names {
		out[i] = name
	}
	return out, nil
}

func textOrNil(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	return Text(v)
}

func onText(f func(string) string) func(a ...any) (any, error) {
	return func(a ...any) (any, error) {
		switch v := a[0].(type) {
		case nil:
			return nil, nil
		case string:
			return f(v), nil
		}
		return nil, fmt.Errorf("need a text, got %s", kind(a[0]))
	}
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func join(a ...any) (any, error) {
	list, ok := a[0].([]any)
	between, also := a[1].(string)
	if !ok || !also {
		return nil, fmt.Errorf("join needs a list and a text, got %s and %s", kind(a[0]), kind(a[1]))
	}
	var out strings.Builder
	for i, v := range list {
		text, err := Text(v)
		if err != nil {
			return nil, fmt.Errorf("join: element %d: %w", i, err)
		}
		if out.Len()+len(text)+len(between) > MaxTextBytes {
			return nil, errTextTooLong
		}
		if i > 0 {
			out.WriteString(between)
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

func replace(a ...any) (any, error) {
	if a[0] == nil {
		return nil, nil
	}
	text, ok := a[0].(string)
	old, also := a[1].(string)
	with, too := a[2].(string)
	if !ok || !also || !too || old == "" {
		return nil, errors.New("replace needs three texts, the second not empty")
	}
	if grown := len(text) + strings.Count(text, old)*(len(with)-len(old)); grown > MaxTextBytes {
		return nil, errTextTooLong
	}
	return strings.ReplaceAll(text, old, with), nil
}

func parseTime(a ...any) (any, error) {
	if a[0] == nil {
		return nil, nil
	}
	text, ok := a[0].(string)
	layout, also := a[1].(string)
	if !ok || !also {
		return nil, errors.New("parse_time needs a text and a layout such as '2006-01-02'")
	}
	t, err := time.ParseInLocation(layout, text, time.UTC)
	if err != nil {
		return nil, errors.New("parse_time: the text is not a time of this layout")
	}
	return t, nil
}

func formatTime(a ...any) (any, error) {
	if a[0] == nil {
		return nil, nil
	}
	t, ok := instant(a[0])
	layout, also := a[1].(string)
	if !ok || !also {
		return nil, errors.New("format_time needs a time (or an RFC 3339 text) and a layout such as '2006-01-02'")
	}
	return t.UTC().Format(layout), nil
}
