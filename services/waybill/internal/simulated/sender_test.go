package simulated_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill.internal/pkg/signature"
	"waybill.internal/services/waybill/internal/simulated"
)

// inbox stands for ingest: it verifies, de-duplicates by event id and is
// unavailable now and then.
type inbox struct {
	mu     sync.Mutex
	v      *signature.Verifier
	seen   map[string]string
	tries  int
	failed int
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tries++
	if b.tries%7 == 0 {
		b.failed++
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	got, err := b.v.Verify(raw, r.Header, time.Now())
	switch {
	case err != nil:
		w.WriteHeader(http.StatusUnauthorized)
	case !json.Valid(raw):
		w.WriteHeader(http.StatusBadRequest)
	case b.seen[got.ID] == "":
		b.seen[got.ID] = string(raw)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"id":"r-%s"}`, got.ID)
	case b.seen[got.ID] != string(raw):
		w.WriteHeader(http.StatusConflict)
	default:
		fmt.Fprintf(w, `{"id":"r-%s","duplicate":true}`, got.ID)
	}
}

func TestSenderSendsItsPlan(t *testing.T) {
	t.Parallel()
	k, err := signature.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := signature.NewVerifier([]signature.Key{k}, 0)
	if err != nil {
		t.Fatal(err)
	}
	box := &inbox{v: v, seen: map[string]string{}}
	url, _ := site(t, box, nil)
	path := filepath.Join(t.TempDir(), "sender.ndjson")
	j, err := simulated.OpenJournal(path, false)
	if err != nil {
		t.Fatal(err)
	}
	mix := simulated.Mix{Duplicate: 0.1, UnknownProduct: 0.05, ClosedEarly: 0.05, Unsigned: 0.04, Malformed: 0.03}
	calls := 0
	s := simulated.Sender{URL: url, Key: key, Seed: 11, Count: 600, Concurrency: 32, Mix: mix, Journal: j}
	rep, err := s.Run(t.Context(), func(simulated.Counts) { calls++ })
	if err != nil {
		t.Fatal(err)
	}
	plan := mix.Plan(11, 600)
	bad := int64(plan[simulated.Unsigned] + plan[simulated.Malformed])
	if rep.Sent != 600 || calls != 600 || rep.Refused != bad || rep.Duplicates != int64(plan[simulated.Duplicate]) ||
		rep.Accepted != 600-bad-rep.Duplicates || rep.Undecided != 0 || rep.Retries != int64(box.failed) || bad == 0 || rep.Duplicates == 0 {
		t.Fatalf("%+v, plan %v, failed %d", rep, plan, box.failed)
	}
	if len(box.seen) != int(rep.Accepted) || len(rep.Receipts) != int(rep.Accepted+rep.Duplicates) {
		t.Fatalf("%d records, %d receipts", len(box.seen), len(rep.Receipts))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || bytes.Count(b, []byte(`"event":"intent"`)) != 600 || bytes.Count(b, []byte(`"event":"outcome"`)) != 600 {
		t.Fatalf("journal: %v", err)
	}
}

func TestSenderGivesUpAndStops(t *testing.T) {
	t.Parallel()
	url, _ := site(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }), nil)
	rep, err := simulated.Sender{URL: url, Key: key, Count: 3, MaxTries: 1}.Run(t.Context(), nil)
	if err != nil || rep.Undecided != 3 {
		t.Fatalf("%+v %v", rep, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (simulated.Sender{URL: url, Key: key, Count: 3}).Run(ctx, nil); err == nil {
		t.Fatal("a stopped run says nothing")
	}
	for name, s := range map[string]simulated.Sender{
		"key": {URL: url, Key: "x", Count: 1}, "mix": {URL: url, Key: key, Mix: simulated.Mix{Duplicate: 2}},
		"sum": {URL: url, Key: key, Mix: simulated.Mix{Duplicate: 0.6, Unsigned: 0.6}}, "concurrency": {URL: url, Key: key, Concurrency: 99999}, "url": {URL: "::", Key: key, Count: 1},
	} {
		if _, err := s.Run(t.Context(), nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	file := simulated.CSV{Seed: 4, Duplicate: 0.05, UnknownProduct: 0.03, ClosedEarly: 0.03, Broken: 0.04}
	var a, b bytes.Buffer
	rep, err := file.Write(&a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(&b); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Fatal("not the same bytes twice")
	}
	if rep.Rows != 2000 || rep.Good+rep.Duplicates+rep.UnknownProduct+rep.ClosedEarly+rep.Broken() != 2000 ||
		rep.Duplicates == 0 || rep.UnknownProduct == 0 || rep.ClosedEarly == 0 || rep.Ragged == 0 || rep.StrayQuotes == 0 || rep.InvalidBytes == 0 {
		t.Fatalf("%+v", rep)
	}
	lines := strings.Split(strings.TrimSuffix(a.String(), "\n"), "\n")
	if len(lines) != 2001 || !strings.HasPrefix(lines[0], "\ufeffrequest_no;") {
		t.Fatalf("%d lines, header %q", len(lines), lines[0])
	}
	seen, twice := map[string]bool{}, 0
	for _, l := range lines[1:] {
		no, _, _ := strings.Cut(l, ";")
		if seen[no] {
			twice++
		}
		seen[no] = true
	}
	if twice != rep.Duplicates {
		t.Fatalf("%d rows twice, reported %d", twice, rep.Duplicates)
	}
	if _, err := (simulated.CSV{Rows: -1}).Write(io.Discard); err == nil {
		t.Fatal("negative rows")
	}
}
