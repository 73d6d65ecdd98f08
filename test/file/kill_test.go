//go:build linux

package file_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"waybill.internal/test/world"
)

// maxResident bounds what ingest may have used at any time while it read a file
// several times as large.
const maxResident = 160 << 20

// TestKilled kills ingest in the middle of 200,000 rows, and another process
// goes on: no row is missing, none is there twice, and the memory is bounded.
func TestKilled(t *testing.T) {
	t.Parallel()
	const rows = 200_000
	w := newInbox(t, plain)
	content := orders(rows, strings.Repeat("padding ", 120))
	w.put("orders.csv", content)
	first := w.Process("ingest")
	w.Await("progress", func() bool { return world.One[int64](w, `SELECT coalesce(max(rows_done), 0) FROM file`) >= 20_000 })
	w.Must(first.Process.Kill())
	if err := first.Wait(); err == nil {
		t.Fatal("ingest ended before it was killed")
	}
	stood := world.One[int64](w, `SELECT rows_done FROM file`)
	if state := w.files()[0].State; state != "reading" || stood >= rows {
		t.Fatalf("the file is %s at row %d: it was not killed in the middle", state, stood)
	}
	if n := world.One[int64](w, `SELECT count(*) FROM record`); n != stood {
		t.Errorf("%d records, the mark stands at row %d", n, stood)
	}
	second := w.Process("ingest")
	w.awaitMoved("done", "orders.csv")
	peak := resident(t, second.Process.Pid)
	t.Logf("killed at row %d; a file of %d MiB took at most %d MiB of memory", stood, len(content)>>20, peak>>20)
	if peak > maxResident {
		t.Errorf("ingest used %d MiB, at most %d are allowed", peak>>20, maxResident>>20)
	}
	w.Must(second.Process.Signal(os.Interrupt))
	w.Must(second.Wait())
	w.closed("done", content, rows, rows, 0, 0)
	for query, want := range map[string]int64{
		`SELECT count(*) FROM record WHERE key <> (SELECT encode(hash, 'hex') FROM file) || ':' || split_part(key, ':', 2)`:                                                           0,
		`SELECT min(split_part(key, ':', 2)::bigint) FROM record`:                                                                                                                     1,
		`SELECT max(split_part(key, ':', 2)::bigint) FROM record`:                                                                                                                     rows,
		`SELECT count(*) FROM payload WHERE (headers->>'file-row')::bigint + 1 <> (headers->>'file-line')::bigint OR convert_from(body, 'UTF8')::json->>'no' <> headers->>'file-row'`: 0,
	} {
		if got := world.One[int64](w, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}

// resident is the most memory that a process has had, in bytes.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the kernel does not say")
	return 0
}
