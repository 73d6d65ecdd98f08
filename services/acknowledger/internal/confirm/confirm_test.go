package confirm

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const file = `
integration: shop
sources:
  - webhook: {path: /in/shop, verify: {scheme: standard-webhooks, secrets: ["${KEY}"]}}
acknowledge:
  post:
    to: https://partner.example/status
    confirmed: any(response.body.confirmed ?? [], .id == item.id && .outcome == item.outcome)
`

func acknowledge(t *testing.T) *integration.Acknowledge {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := integration.Load(path, func(string) (string, bool) { return "key", true })
	if err != nil {
		t.Fatal(err)
	}
	return in.Acknowledge
}

func told(n int) []record.Record {
	list := make([]record.Record, n)
	for i := range list {
		list[i] = record.Record{ID: record.ID{byte(i + 1)}, Fence: int64(10 + i), State: record.Rejected, Outcome: record.Outcome{Number: 2, State: record.OutcomeSent, Try: 1}}
	}
	return list
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const first = `{"id": "01000000-0000-0000-0000-000000000000", "outcome": 2}`
	const stale = `{"id": "01000000-0000-0000-0000-000000000000", "outcome": 1}`
	const other = `{"id": "02000000-0000-0000-0000-000000000000", "outcome": 2}`
	retry := http.Header{"Retry-After": {"7"}}
	for _, test := range []struct {
		name   string
		status int
		header http.Header
		body   string
		err    error
		class  record.Class
		code   string // of the first of two; "" is confirmed
		after  time.Duration
		second string
	}{
		{"both", 200, nil, `{"confirmed": [` + first + `,` + other + `]}`, nil, "", "", 0, ""},
		{"one", 202, nil, `{"confirmed": [` + other + `]}`, nil, fault.System, "not_confirmed", 0, ""},
		{"old number", 200, nil, `{"confirmed": [` + stale + `]}`, nil, fault.System, "not_confirmed", 0, "not_confirmed"},
		{"nothing, with a wait", 200, retry, `{}`, nil, fault.System, "not_confirmed", 7 * time.Second, "not_confirmed"},
		{"empty", 204, nil, ``, nil, fault.System, "not_confirmed", 0, "not_confirmed"},
		{"page", 200, nil, `<html>`, nil, fault.System, "not_confirmed", 0, "not_confirmed"},
		{"another form", 200, nil, `{"confirmed": 1}`, nil, fault.Bug, "expression", 0, "expression"},
		{"redirect that confirms", 302, nil, `{"confirmed": [` + first + `]}`, nil, fault.Credentials, "redirect", 0, "redirect"},
		{"error that confirms", 500, nil, `{"confirmed": [` + first + `]}`, nil, fault.System, "http_500", 0, "http_500"},
		{"not modified", 304, nil, ``, nil, fault.Credentials, "redirect", 0, "redirect"},
		{"busy", 503, retry, ``, nil, fault.System, "http_503", 7 * time.Second, "http_503"},
		{"too many", 429, retry, ``, nil, fault.System, "http_429", 7 * time.Second, "http_429"},
		{"wrong key", 401, nil, ``, nil, fault.Credentials, "unauthorized", 0, "unauthorized"},
		{"conflict", 409, nil, ``, nil, fault.Duplicate, "http_409", 0, "http_409"},
		{"bad request", 400, nil, ``, nil, fault.Data, "http_400", 0, "http_400"},
		{"no answer", 0, nil, ``, &egress.Error{Code: egress.CodeTimeout}, fault.System, "timeout", 0, "timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			answer := Answer{Response: egress.Response{Status: test.status, Header: test.header, Body: []byte(test.body)}, Err: test.err, StartedAt: time.Unix(5, 0)}
			if answer.Response.Header == nil {
				answer.Response.Header = http.Header{}
			}
			got := Judge(acknowledge(t), answer, told(2))
			for i, code := range []string{test.code, test.second} {
				want := record.Unconfirmed
				if code == "" {
					want = record.Confirmed
				}
				s := got[i]
				if s.Fact.Event != want || s.Fact.Failure.Code != code || s.History.Failure.Code != code || s.Fence != int64(10+i) ||
					s.History.Kind != ledger.NotifyHistory || !s.History.StartedAt.Equal(time.Unix(5, 0)) || (code == "" && s.Fact.Number != 2) {
					t.Errorf("outcome %d: %+v, want %s %s", i, s, want, code)
				}
			}
			if f := got[0].Fact.Failure; f.Class != test.class || f.RetryAfter != test.after {
				t.Errorf("class %q, wait %s; want %q, %s", f.Class, f.RetryAfter, test.class, test.after)
			}
		})
	}
}

// scripted is a ledger that fails as often as it is told to.
type scripted struct {
	mu    sync.Mutex
	fails []error
	calls [][]ledger.Settlement
	gate  chan struct{} // nil: at once
}

func (l *scripted) Settle(_ context.Context, _ int64, list []ledger.Settlement) ([]ledger.Settled, []ledger.Batch, error) {
	if l.gate != nil {
		<-l.gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, list)
	if len(l.fails) > 0 {
		err := l.fails[0]
		l.fails = l.fails[1:]
		if err != nil {
			return nil, nil, err
		}
	}
	settled := make([]ledger.Settled, len(list))
	for i, s := range list {
		settled[i] = ledger.Settled{Record: record.Record{ID: s.ID}, Held: true}
	}
	return settled, nil, nil
}

func lease(ends chan struct{}) Lease {
	return Lease{ID: 1, Ends: ends, Alive: func() bool {
		select {
		case <-ends:
			return false
		default:
			return true
		}
	}}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	down := errors.New("the ledger is down")
	value := &pgconn.PgError{Code: "22021"}
	for _, test := range []struct {
		name   string
		fails  []error
		lapses bool
		calls  int
		bare   bool // the last call has no interaction
		failed bool
	}{
		{"at once", nil, false, 1, false, false},
		{"after failures", []error{down, down, down}, false, 4, false, false},
		{"until the session lapses", slices.Repeat([]error{down}, 100), true, 1, false, true},
		{"without a value that the database refuses", []error{value}, false, 2, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &scripted{fails: test.fails}
				s, err := NewSettler(l, nil, zap.NewNop())
				if err != nil {
					t.Fatal(err)
				}
				ends := make(chan struct{})
				if test.lapses {
					close(ends)
				}
				list := Unconfirmed(told(3), record.Failure{Class: fault.System, Code: "x"}, time.Now())
				list[0].Interactions = []ledger.Interaction{{URL: "u"}}
				settled, err := s.Settle(t.Context(), Verdict{Lease: lease(ends), Settlements: list})
				if (err != nil) != test.failed || (err == nil && (len(settled) != 3 || settled[2].Record.ID != list[2].ID)) {
					t.Errorf("settled %v, %v", settled, err)
				}
				if len(l.calls) != test.calls || (len(l.calls[len(l.calls)-1][0].Interactions) == 0) != test.bare {
					t.Errorf("%d calls, want %d; bare is to be %v", len(l.calls), test.calls, test.bare)
				}
				if len(list[0].Interactions) != 1 {
					t.Error("the caller's settlements were changed")
				}
				if err := s.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Answers share transactions, and each gets its own results back.
func TestSettleTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &scripted{gate: make(chan struct{})}
		s, err := NewSettler(l, nil, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		ends := make(chan struct{})
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				r := record.Record{ID: record.ID{byte(i), 1}}
				settled, err := s.Settle(t.Context(), Verdict{Lease: lease(ends), Settlements: Unconfirmed([]record.Record{r, r}, record.Failure{}, time.Now())})
				if err != nil || len(settled) != 2 || settled[0].Record.ID != r.ID {
					t.Errorf("answer %d: %v, %v", i, settled, err)
				}
			})
		}
		synctest.Wait() // one transaction is under way, and everybody else waits
		close(l.gate)
		all.Wait()
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if len(l.calls) != 2 {
			t.Errorf("%d transactions for 50 answers, want 2", len(l.calls))
		}
	})
}

func TestReport(t *testing.T) {
	t.Parallel()
	counts, alerts := map[string]int{}, []telemetry.Problem(nil)
	r := Reporter{Log: zap.NewNop(), Count: func(_, result string, n int) { counts[result] += n }, Alert: func(p telemetry.Problem) { alerts = append(alerts, p) }}
	settled, settlements := []ledger.Settled{}, []ledger.Settlement{}
	add := func(n int, held bool, state record.OutcomeState, class record.Class, code string) {
		for range n {
			settled = append(settled, ledger.Settled{Held: held, Record: record.Record{Outcome: record.Outcome{State: state}}})
			settlements = append(settlements, ledger.Settlement{History: ledger.History{Failure: record.Failure{Class: class, Code: code}}})
		}
	}
	add(3, true, record.Acknowledged, "", "")
	add(4, true, record.OutcomeDue, fault.System, CodeNotConfirmed)
	add(5, true, record.OutcomeDue, fault.Slow, CodePartnerBusy)
	add(7, true, record.Unacknowledged, fault.System, "http_500")
	add(2, false, "", "", "")
	add(1, true, record.OutcomeDue, fault.Credentials, "unauthorized")
	r.Told("shop", settled, settlements)
	for result, want := range map[string]int{ResultConfirmed: 3, ResultUnconfirmed: 5, ResultPutBack: 5, ResultGaveUp: 7, ResultLate: 2} {
		if counts[result] != want {
			t.Errorf("%s: %d, want %d", result, counts[result], want)
		}
	}
	if len(alerts) != 2 || alerts[0].Kind != telemetry.KindCredentials {
		t.Fatalf("alerts: %+v", alerts)
	}
	p := alerts[1]
	if p.Kind != telemetry.KindPartnerGaveUp || p.Count != 7 || len(p.Records) != maxSamples || p.Code != "" || p.Class != "" ||
		!strings.Contains(p.Message, "http_500") || p.Repair != "waybill dead requeue --kind unacknowledged --integration shop" {
		t.Errorf("alert: %+v", p)
	}
}
