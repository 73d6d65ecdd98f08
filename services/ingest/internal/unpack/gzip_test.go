package unpack_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/unpack"
)

// TestGzipMembers: members follow one another, zeros fill the last block, and anything else behind them is damage.
func TestGzipMembers(t *testing.T) {
	t.Parallel()
	member := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, text)
		_ = z.Close()
		return b.String()
	}
	one, empty := member("one\n"), member("")
	for name, c := range map[string]struct {
		packed, want string
		code         rows.Code
	}{
		"one":                  {one, "one\n", ""},
		"empty":                {empty, "", ""},
		"two":                  {one + one, "one\none\n", ""},
		"an empty one between": {one + empty + one, "one\none\n", ""},
		"a filled block":       {one + strings.Repeat("\x00", 5000), "one\n", ""},
		"filled between":       {one + "\x00\x00" + one, "one\none\n", ""},
		"rubbish behind":       {one + "this is rubbish", "one\n", rows.Malformed},
		"rubbish behind zeros": {one + "\x00this is rubbish", "one\n", rows.Malformed},
		"a member cut":         {one + one[:len(one)-3], "one\none\n", rows.Truncated},
		"a header cut":         {one + one[:5], "one\n", rows.Truncated},
	} {
		for _, src := range []io.Reader{strings.NewReader(c.packed), iotest.OneByteReader(strings.NewReader(c.packed)), iotest.DataErrReader(strings.NewReader(c.packed))} {
			r, err := unpack.Stream(unpack.Gzip, src, unpack.NewMeter(0), false, true)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, err := io.ReadAll(r)
			var bad *rows.FileError
			if errors.As(err, &bad) != (c.code != "") || bad != nil && bad.Code != c.code || string(got) != c.want {
				t.Errorf("%s: %q, %v; want %q, %q", name, got, err, c.want, c.code)
			}
			if err := r.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
