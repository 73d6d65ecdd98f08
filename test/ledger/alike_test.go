package ledger_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/pkg/record"
)

// TestAlikeColumns: an arrival's rows are the same whether it comes alone, with others
// like it or with others of every kind, and whoever is first.
func TestAlikeColumns(t *testing.T) {
	t.Parallel()
	want := map[string]string{}
	for i := range kinds() {
		maps.Copy(want, kept(t, kinds()[i:i+1]))
	}
	if row := want["kind 2"]; !strings.Contains(row, "|rejected|1|t|no topic|data|") {
		t.Errorf("a rejected record that nobody is told of is in no batch, this one is kept as\n%s", row)
	}
	for i, first := range kinds() {
		together := append([]ledger.Arrival{first, other(first)}, slices.Delete(kinds(), i, i+1)...)
		got := kept(t, together)
		for key, row := range want {
			if got[key] != row {
				t.Errorf("behind kind %d, %s is kept as\n%s, alone as\n%s", i, key, got[key], row)
			}
		}
	}
}

// kinds differ in every column that a file's rows have in common.
func kinds() []ledger.Arrival {
	failure := &record.Failure{Class: "data", Code: "invalid", Message: "line 2: no", Detail: []byte(`[{"line":2}]`)}
	list := []ledger.Arrival{
		{Integration: "told", Source: "drop", Version: 1, Payload: ledger.Payload{TrackingID: [16]byte{1}, ContentType: "application/json"}},
		{Integration: "told", Source: "drop", Version: 1, Failure: failure, Payload: ledger.Payload{TrackingID: [16]byte{1}, ContentType: "application/json"}},
		{Integration: "mute", Source: "drop", Version: 2, Failure: failure, Payload: ledger.Payload{TrackingID: [16]byte{2}, Headers: map[string]string{"file-row": "3"}}},
		{Integration: "mute", Source: "hook", Version: 3, Failure: &record.Failure{Class: "bug", Code: "expression"}, Payload: ledger.Payload{TrackingID: [16]byte{3}, ContentType: "text/plain"}},
	}
	for i := range list {
		named(&list[i], fmt.Sprint("kind ", i))
		list[i].Payload.Body = []byte{byte(i)}
	}
	return list
}

func other(a ledger.Arrival) ledger.Arrival {
	named(&a, a.Key+" again")
	return a
}

func named(a *ledger.Arrival, key string) {
	a.ID, a.Key, a.EntityKey = record.DeriveID(make([]byte, 32), a.Integration, key), key, key
}

// kept accepts the arrivals together in a ledger of their own and gives what it keeps by key.
func kept(t *testing.T, arrivals []ledger.Arrival) map[string]string {
	t.Helper()
	url := stacktest.Postgres(t)
	if _, err := ledger.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), url, ledger.Options{MaxConns: 1, Terms: func(integration string) ledger.Terms {
		return ledger.Terms{Lane: "main", Policy: record.Policy{Tells: func(record.State) bool { return integration == "told" }}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	db, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, _, err := l.Accept(t.Context(), 1, arrivals); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), `SELECT r.key, concat_ws('|', r.id, r.integration, r.source, r.entity_key, r.version, r.state, r.fence, r.batch IS NULL, coalesce(o.topic, 'no topic'), r.class, r.code, r.message,
		coalesce(r.detail::text, 'no detail'), r.outcome, r.outcome_state, p.tracking_id, p.content_type, p.headers::text, p.body, p.hash)
		FROM record r JOIN payload p USING (day, seq) LEFT JOIN outbox o ON o.id = r.batch AND r.id = ANY(o.ids)`)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	var key, row string
	if _, err := pgx.ForEachRow(rows, []any{&key, &row}, func() error {
		got[key] = row
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(arrivals) {
		t.Fatalf("%d of %d arrivals are kept", len(got), len(arrivals))
	}
	return got
}
