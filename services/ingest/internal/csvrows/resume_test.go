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

	"waybill.internal/services/ingest/internal/csvrows"
)

// checkResume stops after rows (all, or every n-th so that about most are tried)
// and goes on in three ways; every way must
// give exactly the rest.
func checkResume(t testing.TB, data []byte, o csvrows.Options, most int) {
	t.Helper()
	whole, err := csvrows.NewReader(bytes.NewReader(data), o)
	if err != nil {
		return // a file error has nothing to resume
	}
	marks := []csvrows.Mark{whole.Mark()}
	var all []string
	for {
		row, err := whole.Next()
		var e *csvrows.RowError
		if err == io.EOF {
			break
		}
		switch {
		case errors.As(err, &e):
			all = append(all, fmt.Sprintf("%d@%d !%s %q", e.Number, e.Line, e.Code, e.Raw))
		case err != nil:
			t.Fatal(err)
		default:
			all = append(all, fmt.Sprintf("%d@%d %q %q", row.Number, row.Line, row.Columns, row.Values))
		}
		marks = append(marks, whole.Mark())
	}
	for k := 0; k < len(marks); k += 1 + len(marks)/most {
		stored, err := json.Marshal(marks[k])
		if err != nil {
			t.Fatal(err)
		}
		var m csvrows.Mark
		if err := json.Unmarshal(stored, &m); err != nil {
			t.Fatal(err)
		}
		fromMark, skipping := o, o
		fromMark.From, skipping.SkipRows = &m, k
		for name, open := range map[string]func() (*csvrows.Reader, error){
			"seek":   func() (*csvrows.Reader, error) { return csvrows.NewReader(bytes.NewReader(data), fromMark) },
			"stream": func() (*csvrows.Reader, error) { return csvrows.NewReader(bytes.NewBuffer(data), fromMark) },
			"skip":   func() (*csvrows.Reader, error) { return csvrows.NewReader(bytes.NewBuffer(data), skipping) },
		} {
			r, err := open()
			if err != nil {
				t.Fatalf("%s after row %d: %v", name, k, err)
			}
			for _, want := range all[k:] {
				row, err := r.Next()
				got := fmt.Sprintf("%d@%d %q %q", row.Number, row.Line, row.Columns, row.Values)
				var e *csvrows.RowError
				if errors.As(err, &e) {
					got = fmt.Sprintf("%d@%d !%s %q", e.Number, e.Line, e.Code, e.Raw)
				} else if err != nil {
					t.Fatalf("%s after row %d: %v", name, k, err)
				}
				if got != want {
					t.Fatalf("%s after row %d: got %s, want %s", name, k, got, want)
				}
			}
			if _, err := r.Next(); err != io.EOF {
				t.Fatalf("%s after row %d: more than the rest: %v", name, k, err)
			}
		}
	}
}

func TestResumeSeeksFarIntoALargeFile(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	b.WriteString("preface that is not ours")
	base := b.Len()
	b.WriteString("a;b\n")
	for i := range 300_000 {
		fmt.Fprintf(&b, "%d;\"v%d\"\n", i, i)
	}
	f := bytes.NewReader(b.Bytes())
	if _, err := f.Seek(int64(base), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	o := csvrows.Options{Header: true}
	r, err := csvrows.NewReader(f, o)
	if err != nil {
		t.Fatal(err)
	}
	for range 250_000 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	m := r.Mark()
	o.From = &m
	read := 0
	again := bytes.NewReader(b.Bytes()[base:])
	r, err = csvrows.NewReader(struct {
		io.Reader
		io.Seeker
	}{readerFunc(func(p []byte) (int, error) {
		n, err := again.Read(p)
		read += n
		return n, err
	}), again}, o)
	if err != nil {
		t.Fatal(err)
	}
	row, err := r.Next()
	if err != nil || row.Number != 250_001 || row.Line != 250_002 || row.Values[1] != "v250000" {
		t.Fatalf("got %+v, %v", row, err)
	}
	if read > 1<<20 {
		t.Fatalf("read %d bytes to resume", read)
	}
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
	r, err := csvrows.NewReader(&endless{left: 200 << 20}, csvrows.Options{Delimiter: ','})
	if err != nil {
		t.Fatal(err)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var most uint64
	rows, broken := 0, 0
	for {
		_, err := r.Next()
		if err == io.EOF {
			break
		}
		var e *csvrows.RowError
		if errors.As(err, &e) {
			broken++
		} else if err != nil {
			t.Fatal(err)
		}
		rows++
		if rows%50_000 == 0 {
			runtime.GC() // what is still held, not what waits to be collected
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	}
	if rows < 300_000 || broken < 300 || r.Mark().Rows != rows {
		t.Fatalf("%d rows, %d broken", rows, broken)
	}
	if limit := before.HeapAlloc + 8<<20; most > limit {
		t.Fatalf("%d bytes held, at most %d allowed", most, limit)
	}
	t.Logf("%d rows, %d broken, at most %d KiB held", rows, broken, most>>10)
}
