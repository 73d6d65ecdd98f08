package expression

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// maxResultDepth bounds the nesting of a result.
const maxResultDepth = 64

// Text gives a scalar as the text that JSON would show, without quotes; nothing,
// lists and objects are errors, because no text is right for them.
func Text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case json.Number:
		return v.String(), nil
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return "", errors.New("the number is not finite")
		}
		out, err := json.Marshal(v)
		return string(out), err
	}
	return "", fmt.Errorf("%s has no text", kind(v))
}

// plain brings a result down to the kinds that JSON has.
func plain(v any, depth int) (any, error) {
	if depth > maxResultDepth {
		return nil, fmt.Errorf("the result is nested more than %d deep", maxResultDepth)
	}
	switch v := v.(type) {
	case nil, bool, int, string, json.Number:
		return v, nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errors.New("the result is not a finite number")
		}
		return v, nil
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano), nil
	case map[string]string:
		out := make(map[string]any, len(v))
		for name, value := range v {
			out[name] = value
		}
		return out, nil
	case []string:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = value
		}
		return out, nil
	case []any:
		return plainList(v, depth)
	case map[string]any:
		return plainObject(v, depth)
	}
	return nil, fmt.Errorf("the result is %s; it must be a value that JSON has", kind(v))
}

// plainList copies only when an element changes: most results are parts of the body.
func plainList(list []any, depth int) (any, error) {
	for i, old := range list {
		value, err := plain(old, depth+1)
		if err != nil {
			return nil, err
		}
		if changed(old) {
			list = append([]any(nil), list...)
			list[i] = value
			return plainRest(list, i+1, depth)
		}
		if nested(old) {
			return plainRest(append([]any(nil), list...), i, depth)
		}
	}
	return list, nil
}

func plainRest(list []any, from, depth int) (any, error) {
	for i := from; i < len(list); i++ {
		value, err := plain(list[i], depth+1)
		if err != nil {
			return nil, err
		}
		list[i] = value
	}
	return list, nil
}

func plainObject(object map[string]any, depth int) (any, error) {
	out := make(map[string]any, len(object))
	for name, old := range object {
		value, err := plain(old, depth+1)
		if err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}

func changed(v any) bool {
	switch v.(type) {
	case time.Time, map[string]string, []string:
		return true
	}
	return false
}

func nested(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return true
	}
	return false
}
