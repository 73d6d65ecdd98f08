package cases

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/testmaterial"
	"waybill.internal/services/ingest/internal/formats"
	"waybill.internal/services/ingest/internal/rows"
)

const (
	// maxResumed bounds the files that are resumed, in bytes; resumedAll is up to how
	// many rows that is done after each of them, and ahead how far is read then in
	// files that have more.
	maxResumed = 1 << 20
	resumedAll = 24
	ahead      = 40
)

// TestResume reads every file of the folder, as it is and packed, and begins again at
// the mark behind its rows, as the ledger keeps it: the rest is the same, byte for
// byte, with its numbers and lines, broken rows and the end included.
func TestResume(t *testing.T) {
	t.Parallel()
	all, err := load(testmaterial.Folder(t))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, c := range all {
		f, err := formatOf(c.File)
		if err != nil || c.Bytes > maxResumed || c.Spec.Kind == "reject" {
			continue
		}
		content, err := c.Sibling(c.File)
		if err != nil {
			t.Fatal(err)
		}
		packings := map[string][]byte{"plain": content}
		if c.Bytes < maxResumed/16 && c.Spec.Compression == "" {
			packings["gzip"] = packed(content)
			packings["zip"] = archived(t, content, content)
			packings["gzip in zip"] = archived(t, packed(content), content)
		}
		for packing, data := range packings {
			t.Run(c.File+"/"+packing, func(t *testing.T) {
				t.Parallel()
				resumed(t, f, data)
			})
			seen[packing]++
		}
	}
	for _, packing := range []string{"plain", "gzip", "zip", "gzip in zip"} {
		if seen[packing] < 20 {
			t.Errorf("only %d files were resumed %s", seen[packing], packing)
		}
	}
}

func packed(content []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(content) // to memory
	_ = w.Close()
	return out.Bytes()
}

// archived packs two files, of which the second has a name in an old code page.
func archived(t *testing.T, first, second []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for name, content := range map[string][]byte{"Jan": first, "M\x84rz": second} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, NonUTF8: true, Method: zip.Deflate})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// place is what one call of Next gave, and the mark behind it.
type place struct {
	said string
	mark rows.Mark
}

// given reads up to most rows; the last place is the end or an error.
func given(f *integration.Format, data []byte, temp string, from *rows.Mark, most int) []place {
	r, err := formats.Open(f, formats.Input{Name: "x", Stream: bytes.NewReader(data), Random: bytes.NewReader(data), Size: int64(len(data)), Temp: temp}, maxRow, from)
	if err != nil {
		return []place{{said: "refused: " + err.Error()}}
	}
	defer r.Close() //nolint:errcheck // only read
	var out []place
	for len(out) < most {
		row, err := r.Next()
		broken, ok := errors.AsType[*rows.RowError](err)
		switch {
		case err == nil:
			out = append(out, place{fmt.Sprintf("%d@%d %s", row.Number, row.Line, row.Body), r.Mark()})
		case ok:
			out = append(out, place{fmt.Sprintf("%d@%d %s %s %q", broken.Number, broken.Line, broken.Code, broken.Message, broken.Raw), r.Mark()})
		default:
			return append(out, place{said: err.Error(), mark: r.Mark()})
		}
	}
	return out
}

func resumed(t *testing.T, f *integration.Format, data []byte) {
	t.Helper()
	whole := given(f, data, t.TempDir(), nil, 1<<20)
	n := len(whole) - 1 // the last is the end
	step := max(1, n/resumedAll)
	for k := 0; k < n; k += step {
		stored, err := json.Marshal(whole[k].mark)
		if err != nil {
			t.Fatal(err)
		}
		var from rows.Mark
		if err := json.Unmarshal(stored, &from); err != nil {
			t.Fatal(err)
		}
		if from.Rows != k+1 {
			t.Fatalf("after %d rows the mark is %+v", k+1, from)
		}
		most := ahead
		if n <= resumedAll {
			most = n + 1
		}
		got, want := given(f, data, t.TempDir(), &from, most), whole[k+1:min(k+1+most, len(whole))]
		if !slices.EqualFunc(got, want, func(a, b place) bool { return a.said == b.said && a.mark == b.mark }) {
			t.Fatalf("resumed after %d of %d rows at %+v:\ngot  %s\nwant %s", k+1, n, from, first(got, want), first(want, got))
		}
	}
	if end := whole[n].said; end != io.EOF.Error() {
		t.Logf("it ends with %s", end)
	}
}

// first is where two lists begin to differ.
func first(a, b []place) string {
	for i := range a {
		if i >= len(b) || a[i].said != b[i].said || a[i].mark != b[i].mark {
			return fmt.Sprintf("place %d: %.300s %+v", i, a[i].said, a[i].mark)
		}
	}
	return "no more"
}
