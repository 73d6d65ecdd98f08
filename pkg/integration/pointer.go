package integration

import (
	"fmt"
	"strings"
)

// maxPointerParts bounds the parts of a JSON pointer.
const maxPointerParts = 32

// SplitPointer gives the parts of a JSON pointer (RFC 6901) with their escapes
// undone; the empty pointer has none. A part that was written * is given as it is:
// a reader that knows it takes every element of a list.
func SplitPointer(pointer string) ([]string, error) {
	if pointer == "" {
		return nil, nil
	}
	if !strings.HasPrefix(pointer, "/") {
		return nil, fmt.Errorf("%q is no JSON pointer; begin with a slash, such as /data/orders", shorten(pointer))
	}
	parts := strings.Split(pointer[1:], "/")
	if len(parts) > maxPointerParts {
		return nil, fmt.Errorf("the pointer has %d parts; write at most %d", len(parts), maxPointerParts)
	}
	for i, part := range parts {
		plain := strings.ReplaceAll(strings.ReplaceAll(part, "~0", ""), "~1", "")
		if strings.Contains(plain, "~") {
			return nil, fmt.Errorf("%q is no JSON pointer; write ~0 for ~ and ~1 for / inside a name", shorten(pointer))
		}
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
	}
	return parts, nil
}
