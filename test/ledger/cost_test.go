package ledger_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/pkg/record"
)

// BenchmarkPath is the ledger's share of one record's way: accepted, claimed
// and settled with one upsert, 200 at a time. It reports µs of CPU a record, of
// this process and of its Postgres backends; the latter on Linux only.
func BenchmarkPath(b *testing.B) {
	for _, size := range []int{1, 20, 200} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) { path(b, size) })
	}
}

func path(b *testing.B, size int) {
	url := stacktest.Postgres(b)
	if _, err := ledger.Migrate(b.Context(), url); err != nil {
		b.Fatal(err)
	}
	db, err := pgxpool.New(b.Context(), url)
	must(b, err)
	defer db.Close()
	var session int64
	must(b, db.QueryRow(b.Context(), `INSERT INTO session (service, host, renewed_at) VALUES ('bench', 'bench', now() + interval '1 day') RETURNING id`).Scan(&session))
	_, err = db.Exec(b.Context(), `CREATE TABLE target (no text PRIMARY KEY, body text)`)
	must(b, err)
	policy := record.Policy{Tells: func(record.State) bool { return true }}
	name := fmt.Sprint("bench ", size, " ", os.Getpid())
	l, err := ledger.Open(b.Context(), url, ledger.Options{Terms: func(string) ledger.Terms { return ledger.Terms{Lane: "main", Policy: policy} }, MaxConns: 1, Name: name})
	must(b, err)
	defer l.Close()
	key, err := l.InstallationKey(b.Context())
	must(b, err)
	round(b, l, session, arrivals(key, "warm", size)) // plans and connections
	ours, theirs, start := ownCPU(b), backendCPU(b, db, name), time.Now()
	b.ResetTimer()
	for done, n := 0, 0; done < b.N; done += size {
		n++
		round(b, l, session, arrivals(key, fmt.Sprint(n), size))
	}
	b.StopTimer()
	records := float64((b.N + size - 1) / size * size)
	b.ReportMetric(float64((ownCPU(b)-ours).Microseconds())/records, "process-µs/record")
	b.ReportMetric(float64((backendCPU(b, db, name)-theirs).Microseconds())/records, "postgres-µs/record")
	b.ReportMetric(records/time.Since(start).Seconds(), "records/s")
}

func arrivals(key []byte, prefix string, n int) []ledger.Arrival {
	body := []byte(`{"filler":"` + strings.Repeat("x", 1000) + `"}`)
	list := make([]ledger.Arrival, n)
	for i := range list {
		k := prefix + "-" + strconv.Itoa(i)
		list[i] = ledger.Arrival{ID: record.DeriveID(key, "bench", k), Integration: "bench", Source: "webhook", Key: k, EntityKey: k, Version: 1,
			Payload: ledger.Payload{TrackingID: [16]byte{1, byte(i)}, ContentType: "application/json", Headers: map[string]string{"A": "b"}, Body: body}}
	}
	return list
}

func round(b *testing.B, l *ledger.Ledger, session int64, list []ledger.Arrival) {
	receipts, batches, err := l.Accept(b.Context(), session, list)
	must(b, err)
	must(b, l.MarkPublished(b.Context(), []ledger.Published{{ID: batches[0].ID, Ends: []int64{1, 2, 3}}}))
	refs := make([]ledger.Ref, len(receipts))
	for i, r := range receipts {
		refs[i] = ledger.Ref{ID: r.Record.ID, Fence: r.Record.Fence, Version: 1}
	}
	claimed, err := l.Claim(b.Context(), session, refs)
	must(b, err)
	settlements := make([]ledger.Settlement, len(claimed))
	for i, c := range claimed {
		settlements[i] = ledger.Settlement{ID: c.ID, Fence: c.Fence, Fact: record.Fact{Event: record.Succeeded},
			History: ledger.History{Kind: ledger.ProcessHistory, Steps: []byte(`{"check_email":{"status":200}}`)},
			Upserts: []ledger.Upsert{{Table: "target", Key: []string{"no"}, Columns: []string{"no", "body"}, Row: fmt.Appendf(nil, `{"no":%q,"body":"some text"}`, c.Key), Sort: c.Key}}}
	}
	settled, batches, err := l.Settle(b.Context(), session, settlements)
	must(b, err)
	if !settled[0].Held {
		b.Fatal("not settled")
	}
	must(b, l.MarkPublished(b.Context(), []ledger.Published{{ID: batches[0].ID, Ends: []int64{1, 2, 3}}}))
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// backendCPU adds up what the kernel charges to the ledger's backends, in ticks
// of 10 ms; 0 where /proc does not tell.
func backendCPU(b *testing.B, db *pgxpool.Pool, application string) time.Duration {
	b.Helper()
	const tick, afterName, utime, stime = 10 * time.Millisecond, ") ", 11, 12
	rows, err := db.Query(b.Context(), `SELECT pid FROM pg_stat_activity WHERE application_name = $1`, application)
	must(b, err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	must(b, err)
	var total time.Duration
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, fields, _ := strings.Cut(string(stat), afterName)
		columns := strings.Fields(fields)
		for _, column := range []int{utime, stime} {
			ticks, err := strconv.Atoi(columns[column])
			must(b, err)
			total += time.Duration(ticks) * tick
		}
	}
	return total
}
