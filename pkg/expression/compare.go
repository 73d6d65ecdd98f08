package expression

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"time"
)

// order compares two values that have an order: numbers, texts, times.
func order(a, b any) (int, error) {
	if x, ok := a.(int); ok {
		if y, ok := b.(int); ok {
			return cmp.Compare(x, y), nil
		}
	}
	if isNumber(a) && isNumber(b) {
		return orderNumbers(a, b)
	}
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			if t, u, ok := instants(a, b); ok {
				return t.Compare(u), nil
			}
			return cmp.Compare(x, y), nil
		}
	}
	if t, u, ok := instants(a, b); ok {
		return t.Compare(u), nil
	}
	return 0, fmt.Errorf("cannot compare %s with %s", kind(a), kind(b))
}

func equal(a, b any) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok && x == y {
			return true
		}
	}
	if isNumber(a) && isNumber(b) {
		c, err := orderNumbers(a, b)
		return err == nil && c == 0
	}
	if t, u, ok := instants(a, b); ok {
		return t.Equal(u)
	}
	return reflect.DeepEqual(a, b)
}

func instants(a, b any) (t, u time.Time, ok bool) {
	if t, ok = instant(a); !ok {
		return t, u, false
	}
	u, ok = instant(b)
	return t, u, ok
}

// instant reads a time or an RFC 3339 text; the cheap look at fixed places keeps
// ordinary texts away from the parser.
func instant(v any) (time.Time, bool) {
	switch v := v.(type) {
	case time.Time:
		return v, true
	case string:
		if len(v) < 20 || len(v) > 40 || v[4] != '-' || v[7] != '-' || v[13] != ':' {
			return time.Time{}, false
		}
		t, err := time.Parse(time.RFC3339Nano, v)
		return t, err == nil
	}
	return time.Time{}, false
}

func isNumber(v any) bool {
	switch v.(type) {
	case int, float64, json.Number:
		return true
	}
	return false
}

func orderNumbers(a, b any) (int, error) {
	if x, ok := small(a); ok {
		if y, ok := small(b); ok {
			return cmp.Compare(x, y), nil
		}
	}
	x, err := exact(a)
	if err != nil {
		return 0, err
	}
	y, err := exact(b)
	if err != nil {
		return 0, err
	}
	return x.Cmp(y), nil
}

// small gives v as a float64 when that loses nothing.
func small(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), v < 1<<53 && v > -(1<<53)
	case float64:
		return v, !math.IsNaN(v)
	}
	return 0, false
}

// exact gives v as the decimal it was written as: 0.1 is a tenth, not its
// nearest binary fraction, as a partner who sends 0.1 would expect.
func exact(v any) (*big.Rat, error) {
	var text string
	switch v := v.(type) {
	case int:
		return new(big.Rat).SetInt64(int64(v)), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errors.New("cannot compare a number that is not finite")
		}
		text = fmt.Sprint(v)
	case json.Number:
		text = v.String()
	}
	if len(text) > 400 {
		return nil, errors.New("cannot compare a number of more than 400 characters")
	}
	if f, err := json.Number(text).Float64(); err != nil || math.IsInf(f, 0) {
		return nil, errors.New("cannot compare a number that is out of range")
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, errors.New("cannot compare what is written like a number and is none")
	}
	return r, nil
}

func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing (nil)"
	case string:
		return "a text"
	case bool:
		return "a bool"
	case int, float64, json.Number:
		return "a number"
	case time.Time:
		return "a time"
	case []any:
		return "a list"
	case map[string]any, map[string]string:
		return "an object"
	default:
		return fmt.Sprintf("a %T", v)
	}
}
