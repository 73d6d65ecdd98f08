package command_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/pkg/record"
	"waybill.internal/test/world"
)

func TestMain(m *testing.M) { world.Main(m) }

const shop = `
integration: shop
sources: [{webhook: {path: /in/shop, verify: {scheme: standard-webhooks, secrets: ["${SHOP_SECRET}"]}}}]
record: {idempotency_key: body.no}
process: {steps: [{map: {no: body.no}}]}
acknowledge: {post: {to: "https://shop.example/status", confirmed: "true"}}
`

// desk is a ledger with records, and an operator's machine.
type desk struct {
	*testing.T
	env     []string
	l       *ledger.Ledger
	db      *pgxpool.Pool
	key     []byte
	session int64
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{T: t}
	url := stacktest.Postgres(t)
	d.env = []string{"WAYBILL_POSTGRES_URL=" + url, "USER=eve", "SHOP_SECRET=whsec_x", "PATH=" + os.Getenv("PATH")}
	_, err := ledger.Migrate(t.Context(), url)
	d.must(err)
	dir := t.TempDir()
	d.must(os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(shop), 0o600))
	integrations := catalog.New(func(string) (string, bool) { return "whsec_x", true })
	d.must(integrations.LoadDir(dir))
	d.l, err = ledger.Open(t.Context(), url, ledger.Options{Terms: integrations.Terms, Name: "test", MaxConns: 3})
	d.must(err)
	t.Cleanup(d.l.Close)
	d.must(integrations.Register(t.Context(), d.l))
	d.key, err = d.l.InstallationKey(t.Context())
	d.must(err)
	d.db, err = pgxpool.New(t.Context(), url)
	d.must(err)
	t.Cleanup(d.db.Close)
	d.must(d.db.QueryRow(t.Context(), `INSERT INTO session (service, host, renewed_at) VALUES ('test', 'test', now() + interval '1 hour') RETURNING id`).Scan(&d.session))
	return d
}

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// waybill runs a command line and checks its exit code.
func (d *desk) waybill(code int, args ...string) (stdout, stderr string) {
	d.Helper()
	binary := world.Binary(d, "waybill")
	ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, binary, args...)
	c.Env = d.env
	return world.Run(d, c, code)
}

// document runs a command line with --json.
func document[T any](d *desk, code int, args ...string) (v T) {
	d.Helper()
	out, _ := d.waybill(code, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		d.Fatalf("waybill %q printed no JSON: %v\n%s", args, err, out)
	}
	return v
}

func (d *desk) id(key string) record.ID { return record.DeriveID(d.key, "shop", key) }

// accept makes records with these keys.
func (d *desk) accept(keys ...string) []record.Record {
	d.Helper()
	var arrivals []ledger.Arrival
	for _, key := range keys {
		arrivals = append(arrivals, ledger.Arrival{ID: d.id(key), Integration: "shop", Source: "webhook", Key: key, EntityKey: key, Version: 1,
			Payload: ledger.Payload{TrackingID: uuid.Must(uuid.NewV7()), ContentType: "application/json", Headers: map[string]string{"X-Test": "yes"}, Body: []byte(`{"no":"` + key + `"}`)}})
	}
	receipts, _, err := d.l.Accept(d.Context(), d.session, arrivals)
	d.must(err)
	var records []record.Record
	for _, r := range receipts {
		records = append(records, r.Record)
	}
	return records
}

// work claims records and settles them with the fact.
func (d *desk) work(fact record.Fact, records ...record.Record) []record.Record {
	d.Helper()
	claimed, err := d.l.Claim(d.Context(), d.session, refs(records))
	d.must(err)
	call := ledger.Interaction{TrackingID: uuid.Must(uuid.NewV7()), Kind: "call", Method: "POST", URL: "https://crm.example/requests", Status: 500, At: time.Now()}
	return d.settle(fact, ledger.ProcessHistory, claimed, call)
}

func refs(records []record.Record) (list []ledger.Ref) {
	for _, r := range records {
		list = append(list, ledger.Ref{ID: r.ID, Fence: r.Fence, Version: 1})
	}
	return list
}

func (d *desk) settle(fact record.Fact, kind ledger.HistoryKind, claimed []record.Record, calls ...ledger.Interaction) (settled []record.Record) {
	d.Helper()
	var list []ledger.Settlement
	for _, r := range claimed {
		list = append(list, ledger.Settlement{ID: r.ID, Fence: r.Fence, Fact: fact, Interactions: calls,
			History: ledger.History{Kind: kind, StartedAt: d.l.Now(), Steps: []byte(`{"crm":{"unknown":true}}`)}})
	}
	done, _, err := d.l.Settle(d.Context(), d.session, list)
	d.must(err)
	for i, s := range done {
		if !s.Held {
			d.Fatalf("settlement %d was not held", i)
		}
		settled = append(settled, s.Record)
	}
	return settled
}

func dies(code string) record.Fact {
	return record.Fact{Event: record.GaveUp, Failure: record.Failure{Class: record.ClassSystem, Code: code, Message: "it failed with " + code}}
}

// dead makes dead records with this code.
func (d *desk) dead(code string, keys ...string) []record.Record {
	d.Helper()
	return d.work(dies(code), d.accept(keys...)...)
}

func (d *desk) states(keys ...string) (states []record.State) {
	d.Helper()
	for _, key := range keys {
		found, err := d.l.Records(d.Context(), []record.ID{d.id(key)})
		d.must(err)
		states = append(states, found[d.id(key)].State)
	}
	return states
}

func (d *desk) expectStates(want record.State, keys ...string) {
	d.Helper()
	if got := d.states(keys...); slices.ContainsFunc(got, func(s record.State) bool { return s != want }) {
		d.Errorf("%q are %q, want %s", keys, got, want)
	}
}
