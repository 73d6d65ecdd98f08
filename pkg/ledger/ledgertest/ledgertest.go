// Package ledgertest is the ledger's promises as a suite of tests.
//
//	func TestLedger(t *testing.T) { ledgertest.Run(t, stacktest.Postgres) }
//
// Every test works on a schema of its own, in parallel with the others, and
// ends with an audit: whatever it did, every record must be accounted for.
// Nothing waits for time to pass: a session lapses because its row is aged.
package ledgertest

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

// Run checks every promise. Open gives the URL of a database whose
// search_path names one empty schema, which nobody else uses.
func Run(t *testing.T, open func(testing.TB) string) {
	for _, group := range [][]promise{schemaPromises(), acceptPromises(), workPromises(), outboxPromises(), waitPromises(), peoplePromises(),
		sessionPromises(), filePromises(), snapshotPromises(), pollPromises(), sourcePromises(), findPromises(), listPromises(), auditPromises(), planPromises()} {
		for _, p := range group {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t, open(t), !p.bare)
				p.test(f)
				if !p.damages && !p.bare && !t.Failed() {
					f.balanced()
				}
			})
		}
	}
}

type promise struct {
	name    string
	test    func(*fixture)
	bare    bool // begins without a schema
	damages bool // ends out of balance on purpose
}

// fixture is one test's ledger, and a door to its tables for doing damage by hand.
type fixture struct {
	*testing.T
	url  string
	l    *ledger.Ledger
	db   *pgxpool.Pool
	key  []byte
	next atomic.Int64
}

const (
	shop = "shop" // wants to be told everything
	mute = "mute" // wants to be told nothing
	lane = "main"
)

// terms: the first retry goes by a topic, the second waits in the ledger, the
// third failure is the last; a second resend is the last.
func terms(integration string) ledger.Terms {
	return ledger.Terms{Lane: lane, Policy: record.Policy{
		Tells: func(record.State) bool { return integration != mute },
		Retry: func(attempt int, _, _ time.Duration) record.Schedule {
			switch attempt {
			case 0, 1:
				return record.Schedule{Delay: 5 * time.Second, Topic: true}
			case 2:
				return record.Schedule{Delay: time.Hour}
			}
			return record.Schedule{GiveUp: true}
		},
		Resend: func(try int, _, _ time.Duration) record.Schedule {
			return record.Schedule{Delay: time.Minute, GiveUp: try >= 2}
		},
		ParkFor: time.Hour,
	}}
}

func newFixture(t *testing.T, url string, migrate bool) *fixture {
	f := &fixture{T: t, url: url}
	var err error
	if migrate {
		_, err = ledger.Migrate(t.Context(), url)
		f.must(err)
	}
	f.db, err = pgxpool.New(t.Context(), url)
	f.must(err)
	t.Cleanup(f.db.Close)
	f.l = f.open()
	if migrate {
		f.key, err = f.l.InstallationKey(t.Context())
		f.must(err)
	}
	return f
}

func (f *fixture) open() *ledger.Ledger { return f.named("ledgertest") }

// named shows its connections under a name of their own.
func (f *fixture) named(application string) *ledger.Ledger {
	l, err := ledger.Open(f.Context(), f.url, ledger.Options{Terms: terms, Name: application, MaxConns: 6})
	f.must(err)
	f.Cleanup(l.Close)
	return l
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) exec(sql string, args ...any) int64 {
	f.Helper()
	tag, err := f.db.Exec(f.Context(), sql, args...)
	f.must(err)
	return tag.RowsAffected()
}

func one[T any](f *fixture, sql string, args ...any) (v T) {
	f.Helper()
	f.must(f.db.QueryRow(f.Context(), sql, args...).Scan(&v))
	return v
}

func (f *fixture) expect(what string, got, want any) {
	f.Helper()
	if say(got) != say(want) {
		f.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// say puts a space between any two values.
func say(values ...any) string { return strings.TrimSuffix(fmt.Sprintln(values...), "\n") }

// session is live for as long as any test runs.
func (f *fixture) session() int64 {
	f.Helper()
	return one[int64](f, `INSERT INTO session (service, host, renewed_at) VALUES ('test', 'test', now() + interval '1 hour') RETURNING id`)
}

func (f *fixture) lapse(session int64) {
	f.Helper()
	f.exec(`UPDATE session SET renewed_at = now() - interval '1 min' WHERE id = $1`, session)
}

func tracking() [16]byte { return [16]byte(uuid.Must(uuid.NewV7())) }

// arrival of a key of the shop.
func (f *fixture) arrival(key string) ledger.Arrival { return f.arrivalOf(shop, key) }

func (f *fixture) arrivalOf(integration, key string) ledger.Arrival {
	request := ledger.Interaction{TrackingID: tracking(), Method: "POST", URL: "/in/" + integration, Status: 202, At: time.Now()}
	return ledger.Arrival{ID: record.DeriveID(f.key, integration, key), Integration: integration, Source: "webhook", Key: key, EntityKey: "entity " + key, Version: 7,
		Payload: ledger.Payload{TrackingID: tracking(), ContentType: "application/json", Headers: map[string]string{"X-Test": "yes"}, Body: []byte(`{"key":1}`)},
		Request: func() ledger.Interaction { return request }}
}

func invalid(a ledger.Arrival) ledger.Arrival {
	a.Failure = &record.Failure{Class: record.ClassData, Code: "schema", Message: "/key: must be a string", Detail: []byte(`[{"pointer":"/key"}]`)}
	return a
}

func (f *fixture) accept(session int64, arrivals ...ledger.Arrival) ([]ledger.Receipt, []ledger.Batch) {
	f.Helper()
	receipts, batches, err := f.l.Accept(f.Context(), session, arrivals)
	f.must(err)
	return receipts, batches
}

// records accepts n new records of the integration, published.
func (f *fixture) records(session int64, integration string, n int) []record.Record {
	f.Helper()
	arrivals := make([]ledger.Arrival, n)
	for i := range arrivals {
		arrivals[i] = f.arrivalOf(integration, fmt.Sprintf("event %d", f.next.Add(1)))
	}
	receipts, batches := f.accept(session, arrivals...)
	f.publish(batches...)
	list := make([]record.Record, n)
	for i, r := range receipts {
		list[i] = r.Record
	}
	return list
}

func (f *fixture) publish(batches ...ledger.Batch) {
	f.Helper()
	var published []ledger.Published
	for _, b := range batches {
		published = append(published, ledger.Published{ID: b.ID, Ends: []int64{int64(len(b.Items)), -1}})
	}
	f.must(f.l.MarkPublished(f.Context(), published))
}

func (f *fixture) claim(session int64, records ...record.Record) []record.Record {
	f.Helper()
	claimed, err := f.l.Claim(f.Context(), session, refs(records))
	f.must(err)
	for i, r := range claimed {
		if r.Fence == 0 {
			f.Fatalf("record %s (%s, fence %d) could not be claimed", records[i].ID, records[i].State, records[i].Fence)
		}
	}
	return claimed
}

func refs(records []record.Record) []ledger.Ref {
	list := make([]ledger.Ref, len(records))
	for i, r := range records {
		list[i] = ledger.Ref{ID: r.ID, Fence: r.Fence, Version: 9}
	}
	return list
}

func settlement(r record.Record, fact record.Fact, upserts ...ledger.Upsert) ledger.Settlement {
	return ledger.Settlement{ID: r.ID, Fence: r.Fence, Fact: fact, History: ledger.History{Kind: ledger.ProcessHistory, Steps: []byte(`{"check":"\u0000"}`)}, Upserts: upserts}
}

func (f *fixture) settle(session int64, s ...ledger.Settlement) ([]record.Record, []ledger.Batch) {
	f.Helper()
	settled, batches, err := f.l.Settle(f.Context(), session, s)
	f.must(err)
	list := make([]record.Record, len(settled))
	for i, s := range settled {
		if !s.Held {
			f.Fatalf("settlement %d was not held", i)
		}
		list[i] = s.Record
	}
	return list, batches
}

// one goes through claim and settle with the fact.
func (f *fixture) work(session int64, r record.Record, fact record.Fact) (record.Record, []ledger.Batch) {
	f.Helper()
	settled, batches := f.settle(session, settlement(f.claim(session, r)[0], fact))
	return settled[0], batches
}

func failed(class record.Class) record.Fact {
	return record.Fact{Event: record.Failed, Failure: record.Failure{Class: class, Code: "http_503", Message: "the third party answered 503"}}
}

func gaveUp() record.Fact {
	return record.Fact{Event: record.GaveUp, Failure: record.Failure{Class: record.ClassBug, Code: "mapping", Message: "cannot map"}}
}

func (f *fixture) get(id record.ID) record.Record {
	f.Helper()
	found, err := f.l.Records(f.Context(), []record.ID{id})
	f.must(err)
	r, ok := found[id]
	if !ok {
		f.Fatalf("record %s is not in the ledger", id)
	}
	return r
}

func (f *fixture) audit() ledger.Audit {
	f.Helper()
	a, err := f.l.Audit(f.Context(), 0)
	f.must(err)
	return a
}

// balanced: nothing is unaccounted for, before and after the tally is folded.
func (f *fixture) balanced() {
	f.Helper()
	before := f.audit()
	f.must(f.l.FoldTally(f.Context(), 1_000_000))
	after := f.audit()
	for when, a := range map[string]ledger.Audit{"before": before, "after": after} {
		if a.Unaccounted != 0 {
			f.Errorf("%s folding: %d unaccounted: %v", when, a.Unaccounted, a.Differences)
		}
	}
	for name, c := range before.Integrations {
		f.expect("folding changed "+name, say(*after.Integrations[name]), say(*c))
	}
}

// topics of batches with their numbers of messages, in the order they were made.
func topics(batches []ledger.Batch) (list []string) {
	for _, b := range batches {
		list = append(list, fmt.Sprintf("%s:%d", b.Topic, len(b.Items)))
	}
	return list
}

func (f *fixture) waits(id record.ID) (list []string) {
	f.Helper()
	return one[[]string](f, `SELECT coalesce(array_agg(kind || CASE WHEN due_at IS NULL THEN '' ELSE ' due' END ORDER BY kind), '{}') FROM waiting WHERE record_id = $1`, id.String())
}
