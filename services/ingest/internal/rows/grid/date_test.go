package grid

import (
	"strings"
	"testing"
)

// TestKindOfFormat: what a number format shows, also one that nobody would write. Each
// of the long ones would take minutes if it were read again for each of its parts.
func TestKindOfFormat(t *testing.T) {
	t.Parallel()
	const long = 4 << 20
	for name, c := range map[string]struct {
		format string
		want   DateKind
	}{
		"a date":             {"[$-407]dd/mm/yyyy;@", aDate},
		"a time":             {"h:mm AM/PM", aTime},
		"minutes":            {"mm:ss", aTime},
		"both":               {"yyyy-mm-dd hh:mm", aMoment},
		"a duration":         {"[h]:mm", elapsed},
		"a number":           {`#,##0.00 "days"`, NoDate},
		"general":            {"General", NoDate},
		"the second section": {"0;dd", NoDate},
		"an open bracket":    {"[", NoDate},
		"an open quote":      {`d"`, aDate},
		"question marks":     {strings.Repeat("?", long) + "d", aDate},
		"brackets":           {strings.Repeat("[]", long) + "d", aDate},
		"open brackets":      {strings.Repeat("[", long), NoDate},
		"quotes":             {strings.Repeat(`""`, long) + "d", aDate},
		"names":              {strings.Repeat("general", long/8) + "d", aDate},
		"letters":            {strings.Repeat("dm", long), aDate},
	} {
		if got := KindOfFormat(c.format); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
