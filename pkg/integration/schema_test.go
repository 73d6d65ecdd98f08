package integration

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// TestProblemsAreBounded: one object with many wrong fields, or names of any
// length, gives a short answer, and the same one each time.
func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	compiled, err := compileSchema(map[string]any{"type": "object", "additionalProperties": false}, noLoader{})
	if err != nil {
		t.Fatal(err)
	}
	s := &Schema{compiled: compiled}
	body := map[string]any{}
	for i := range 5000 {
		body[fmt.Sprintf("f%04d", i)+strings.Repeat("ä", 1000)] = true
	}
	var first []Problem
	for range 3 {
		problems := s.validate(body)
		if len(problems) != maxProblems {
			t.Fatalf("%d problems, want %d", len(problems), maxProblems)
		}
		for i, p := range problems {
			if len(p.Pointer) > maxPointer || !utf8.ValidString(p.Pointer) || !strings.HasPrefix(p.Pointer, fmt.Sprintf("/f%04d", i)) || !strings.HasSuffix(p.Pointer, "…") {
				t.Fatalf("problem %d is at %q", i, p.Pointer)
			}
			if first != nil && first[i] != p {
				t.Fatalf("problem %d is %v, then %v", i, first[i], p)
			}
		}
		first = problems
	}
}

func TestMissingFieldsAreBounded(t *testing.T) {
	t.Parallel()
	names := make([]string, 5000)
	for i := range names {
		names[i] = fmt.Sprint("f", i)
	}
	missing := &jsonschema.ValidationError{ErrorKind: &kind.Required{Missing: names}}
	causes := &jsonschema.ValidationError{ErrorKind: &kind.Group{}, Causes: []*jsonschema.ValidationError{missing, missing, missing}}
	for _, told := range []int{0, maxProblems - 1, maxProblems} {
		problems := make([]Problem, told)
		if leaves(causes, &problems); len(problems) != maxProblems {
			t.Errorf("%d problems after %d, want %d", len(problems), told, maxProblems)
		}
	}
}

func TestPointer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxPointer)
	for _, tt := range []struct {
		location []string
		want     string
	}{
		{nil, ""},
		{[]string{"a/b", "c~d", "0"}, "/a~1b/c~0d/0"},
		{[]string{long[1:]}, "/" + long[1:]},
		{[]string{long}, "/" + long[:maxPointer-4] + "…"},
		{[]string{long[2:], ""}, "/" + long[2:] + "/"},
		{[]string{long[2:], "y", "z"}, "/" + long[:maxPointer-4] + "…"},
	} {
		if got := pointer(tt.location); got != tt.want || len(got) > maxPointer {
			t.Errorf("%q is %q (%d bytes), want %q", tt.location, got, len(got), tt.want)
		}
	}
}
