package ledger

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestHeaderJSON: what is written without an encoder reads back as what was given.
func TestHeaderJSON(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ given, want map[string]string }{
		"none":        {nil, map[string]string{}},
		"plain":       {map[string]string{"b": "2 <&>", "a": "", "file-row": "17"}, nil},
		"quotes":      {map[string]string{"a": `say "no" \ yes`, "b": "x"}, nil},
		"controls":    {map[string]string{"a": "x\ty\n"}, nil},
		"other texts": {map[string]string{"größe": "übergroß \u2028"}, nil},
		"not UTF-8":   {map[string]string{"a\xff": "\xfe\x00b"}, map[string]string{"a\uFFFD": "\uFFFDb"}},
		"too long":    {map[string]string{strings.Repeat("n", 300): strings.Repeat("v", 5000)}, map[string]string{strings.Repeat("n", 200): strings.Repeat("v", 4096)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.want == nil {
				c.want = c.given
				if c.want == nil {
					c.want = map[string]string{}
				}
			}
			text := headerJSON(c.given)
			var got map[string]string
			if err := json.Unmarshal([]byte(text), &got); err != nil || !maps.Equal(got, c.want) {
				t.Errorf("%s reads back as %q, %v; want %q", text, got, err, c.want)
			}
			if again := headerJSON(maps.Clone(c.given)); again != text {
				t.Errorf("%s and %s of the same headers", text, again)
			}
		})
	}
}

func TestAlike(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ given, want []string }{
		{nil, nil},
		{[]string{"a"}, []string{"a"}},
		{[]string{"", "", ""}, []string{""}},
		{[]string{"a", "a", "b"}, []string{"a", "a", "b"}},
		{[]string{"a", "", ""}, []string{"a", "", ""}},
	} {
		if got := alike(slices.Clone(c.given)); !slices.Equal(got, c.want) {
			t.Errorf("%q became %q, want %q", c.given, got, c.want)
		}
	}
}
