package csvrows_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/csvrows"
	"waybill.internal/services/ingest/internal/rows"
)

// exactly writes everything that Next gave.
func exactly(row rows.Row, err error) string {
	if e, broken := errors.AsType[*rows.RowError](err); broken {
		return fmt.Sprintf("%d@%d !%s %q", e.Number, e.Line, e.Code, e.Raw)
	}
	return fmt.Sprintf("%d@%d %s", row.Number, row.Line, row.Body)
}

// checkResume stops after every row and goes on, by the mark and by the number of
// its rows alone; both must give exactly the rest.
func checkResume(t fataler, data []byte, f integration.CSV, maxRow int) {
	t.Helper()
	whole, err := csvrows.New(bytes.NewReader(data), &f, maxRow, nil)
	if err != nil {
		return // a file error has nothing to resume
	}
	marks := []rows.Mark{whole.Mark()}
	var all []string
	for {
		row, err := whole.Next()
		if err == io.EOF {
			break
		}
		if _, broken := errors.AsType[*rows.RowError](err); err != nil && !broken {
			t.Fatal(err)
		}
		all = append(all, exactly(row, err))
		marks = append(marks, whole.Mark())
	}
	for k, mark := range marks {
		stored, err := json.Marshal(mark)
		if err != nil {
			t.Fatal(err)
		}
		var m rows.Mark
		if err := json.Unmarshal(stored, &m); err != nil {
			t.Fatal(err)
		}
		for name, from := range map[string]rows.Mark{"mark": m, "rows": {Rows: k, Offset: -1}} {
			r, err := csvrows.New(bytes.NewReader(data), &f, maxRow, &from)
			if err != nil {
				t.Fatalf("%s after row %d: %v", name, k, err)
			}
			for _, want := range all[k:] {
				if got := exactly(r.Next()); got != want {
					t.Fatalf("%s after row %d: got %s, want %s", name, k, got, want)
				}
			}
			if _, err := r.Next(); err != io.EOF {
				t.Fatalf("%s after row %d: more than the rest: %v", name, k, err)
			}
		}
	}
}

// At every mark of any file, and under any dialect, reading goes on as if nothing
// had happened.
func TestResumeAtEveryMark(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		checkResume(t, []byte(pieces().Draw(t, "data")), dialects().Draw(t, "format"), 64)
	})
}

// fataler is what *testing.T and *rapid.T have in common here.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func dialects() *rapid.Generator[integration.CSV] {
	return rapid.Custom(func(t *rapid.T) integration.CSV {
		f := plain()
		f.Header = rapid.Bool().Draw(t, "header")
		f.Delimiter = rapid.SampledFrom([]string{",", ";", "auto", ",\"", "bc"}).Draw(t, "delimiter")
		f.RowEnd = rapid.SampledFrom([]string{"", "", "1", "é"}).Draw(t, "row end")
		f.Quote = rapid.SampledFrom([]string{`"`, "none", "a"}).Draw(t, "quote")
		f.Escape = rapid.SampledFrom([]string{"", `\`}).Draw(t, "escape")
		f.Comment = rapid.SampledFrom([]string{"", "#"}).Draw(t, "comment")
		f.Stray = rapid.SampledFrom([]string{"refuse", "keep"}).Draw(t, "stray")
		f.Trim = rapid.SampledFrom([]string{"none", "start", "both"}).Draw(t, "trim")
		f.Charset = rapid.SampledFrom([]string{"auto", "utf-8", "windows-1252", "shift_jis"}).Draw(t, "charset")
		f.Preamble = rapid.IntRange(0, 2).Draw(t, "preamble")
		return f
	})
}

// endless gives n bytes of generated rows, some broken, without holding them.
type endless struct {
	left int
	part []byte
	row  int
}

var note = strings.Repeat("a note that fills the row ", 14)

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	if len(e.part) == 0 {
		e.row++
		switch {
		case e.row == 5:
			e.part = []byte("5,\"a quote nobody closes,z\n")
		case e.row%1000 == 0:
			e.part = []byte("ragged\n")
		case e.row%50_001 == 0:
			e.part = bytes.Repeat([]byte("long"), 300_000)
			e.part[len(e.part)-1] = '\n'
		default:
			e.part = fmt.Appendf(nil, "%d,customer number %d,%s\n", e.row, e.row, note)
		}
	}
	n := copy(p, e.part)
	e.part = e.part[n:]
	e.left -= n
	return n, nil
}

// 200 MB go through in constant memory. Not parallel: it measures the heap.
func TestMemoryStaysFlat(t *testing.T) {
	f := with(headless)
	r, err := csvrows.New(&endless{left: 200 << 20}, &f, maxRow, nil)
	if err != nil {
		t.Fatal(err)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var most uint64
	n, broken := 0, 0
	for {
		_, err := r.Next()
		if err == io.EOF {
			break
		}
		if _, is := errors.AsType[*rows.RowError](err); is {
			broken++
		} else if err != nil {
			t.Fatal(err)
		}
		n++
		if n%50_000 == 0 {
			runtime.GC() // what is still held, not what waits to be collected
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	}
	if n < 300_000 || broken < 300 || r.Mark().Rows != n {
		t.Fatalf("%d rows, %d broken", n, broken)
	}
	if limit := before.HeapAlloc + 8<<20; most > limit {
		t.Fatalf("%d bytes held, at most %d allowed", most, limit)
	}
	t.Logf("%d rows, %d broken, at most %d KiB held", n, broken, most>>10)
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("a,b\n1,\"2\n\"\n"), byte(0), true, "auto")
	f.Add([]byte("\xff\xfea\x00,\x00"), byte(1), false, "utf-16le")
	f.Add([]byte("\"a;b\n1;2\n\r\r\n"), byte(2), false, "iso-8859-7")
	f.Add([]byte("\x00\xff\"\"\",\n"), byte(3), true, "shift_jis")
	f.Add([]byte("a+|b&|\r\n1\\+|+|\"&|"), byte(8), true, "ibm850")
	f.Fuzz(func(t *testing.T, data []byte, kind byte, header bool, charset string) {
		o := plain()
		o.Header, o.Charset = header, charset
		if kind&1 != 0 {
			o.Quote = "none"
		}
		if kind&2 != 0 {
			o.Delimiter = "auto"
		}
		if kind&4 != 0 {
			o.Comment = "#"
		}
		if kind&8 != 0 {
			o.Delimiter, o.RowEnd, o.Escape = "+|", "&|", `\`
		}
		if kind&16 != 0 {
			o.Stray, o.Trim = "keep", "both"
		}
		checkResume(t, data[:min(len(data), 4096)], o, 64)
	})
}

func BenchmarkReader(b *testing.B) {
	var data bytes.Buffer
	data.WriteString("id,name,city,amount,note\n")
	for i := range 100_000 {
		fmt.Fprintf(&data, "%d,customer %d,Berlin,%d.50,a note of some length\n", i, i, i)
	}
	f := plain()
	b.SetBytes(int64(data.Len()))
	for b.Loop() {
		r, err := csvrows.New(bytes.NewReader(data.Bytes()), &f, maxRow, nil)
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := r.Next(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
