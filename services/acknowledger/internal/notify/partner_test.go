package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/signature"
	"waybill.internal/services/acknowledger/internal/confirm"
)

const (
	oldKey = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	newKey = "whsec_YWJjZGVmZ2hpamFiY2RlZmdoaWphYmNkZWZnaGlqYWI="
)

func shop(t *testing.T, url string, vars map[string]string) *integration.Integration {
	t.Helper()
	const file = `
integration: shop
sources:
  - webhook: {path: /in/shop, verify: {scheme: standard-webhooks, secrets: ["${TOKEN}"]}}
acknowledge:
  post:
    to: %URL%
    sign: {scheme: standard-webhooks, secrets: ["${NEW}", "${OLD}"]}
    auth: {header: {name: X-Key, value: "${TOKEN}"}}
    confirmed: any(response.body.confirmed ?? [], .id == item.id && .outcome == item.outcome)
    allow_private: true
`
	path := filepath.Join(t.TempDir(), "shop.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(file, "%URL%", url)), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := integration.Load(path, func(name string) (string, bool) { v, ok := vars[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func secrets() map[string]string {
	return map[string]string{"NEW": newKey, "OLD": oldKey, "TOKEN": "sesame"}
}

func told(n int) []record.Record {
	list := make([]record.Record, n)
	for i := range list {
		list[i] = record.Record{ID: idOf("s", i), Key: "key", EntityKey: "entity", Integration: "shop", State: record.Rejected, Fence: 3,
			Failure:    record.Failure{Class: fault.Data, Code: "schema", Message: "wrong", Detail: []byte(`[{"pointer":"/a"}]`)},
			AcceptedAt: time.Unix(100, 0), Outcome: record.Outcome{Number: 1, Since: time.Unix(200, 0)}}
	}
	return list
}

func alive() bool { return true }

func TestMessage(t *testing.T) {
	t.Parallel()
	list := told(2)
	id, body, err := message(list)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"statuses":[{"id":"` + list[0].ID.String() + `","outcome":1,"state":"rejected","idempotency_key":"key","entity_key":"entity","integration":"shop",` +
		`"accepted_at":"1970-01-01T00:01:40Z","final_at":"1970-01-01T00:03:20Z","class":"data","code":"schema","message":"wrong","problems":[{"pointer":"/a"}]},`
	if !strings.HasPrefix(string(body), want) {
		t.Errorf("body is %s, want it to begin with %s", body, want)
	}
	list[0].Fence, list[0].Outcome.Try, list[0].MovedAt = 9, 4, time.Unix(999, 0) // a resend
	again, same, _ := message(list)
	if again != id || string(same) != string(body) {
		t.Errorf("told again, the batch has id %s and body %s", again, same)
	}
	list[0].Outcome.Number++
	if other, _, _ := message(list); other == id {
		t.Error("another outcome has the same id")
	}
	if one, _, _ := message(list[:1]); one == id {
		t.Error("another batch has the same id")
	}
	list[0].State, list[1].Failure.Detail = record.Processed, []byte("{")
	_, body, err = message(list)
	var read struct{ Statuses []map[string]any }
	if err != nil || json.Unmarshal(body, &read) != nil {
		t.Fatalf("body %s, %v", body, err)
	}
	for _, name := range []string{"class", "code", "message", "problems"} {
		if _, there := read.Statuses[0][name]; there {
			t.Errorf("a processed record has %s", name)
		}
	}
	if _, there := read.Statuses[1]["problems"]; there {
		t.Error("problems that are not JSON are told")
	}
}

func TestSortedBatch(t *testing.T) {
	t.Parallel()
	list := told(3)
	got := sorted([]item{{Record: list[2]}, {Record: list[0]}, {Record: list[1]}})
	for i := range got {
		if got[i].ID != list[i].ID {
			t.Errorf("place %d has %s", i, got[i].ID)
		}
	}
}

func TestPartnerSignsWithEveryKey(t *testing.T) {
	t.Parallel()
	now := time.Now()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for _, text := range []string{oldKey, newKey} {
			key, err := signature.ParseKey(text)
			if err != nil {
				t.Error(err)
			}
			v, err := signature.NewVerifier([]signature.Key{key}, time.Second)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := v.Verify(body, r.Header, now); err != nil {
				t.Error(err)
			}
		}
		if r.Method != http.MethodPost || r.Header.Get("X-Key") != "sesame" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("User-Agent") != "waybill/test" {
			t.Errorf("%s with header %v", r.Method, r.Header)
		}
		_, _ = io.WriteString(w, `{"confirmed":[{"id":"`+idOf("s", 1).String()+`","outcome":1}]}`)
	}))
	defer server.Close()
	p, err := newPartner(shop(t, server.URL, secrets()), "waybill/test", func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	got := p.tell(t.Context(), alive, told(2))
	if got[0].Fact.Event != record.Unconfirmed || got[1].Fact.Event != record.Confirmed || got[1].Fact.Number != 1 {
		t.Errorf("settlements %+v", got)
	}
	if len(got[0].Interactions) != 1 || len(got[1].Interactions) != 0 || got[0].Interactions[0].TrackingID == [16]byte{} {
		t.Errorf("interactions %+v and %+v", got[0].Interactions, got[1].Interactions)
	}
}

// What keeps a request from leaving is a failed try, and no request leaves.
func TestPartnerSendsNothingWithout(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, missing, value string
		alive                bool
		class                record.Class
		code                 string
	}{
		{"a readable signing secret", "NEW", "", true, fault.Credentials, "signing_secret"},
		{"a usable signing secret", "OLD", "whsec_!", true, fault.Credentials, "signing_secret"},
		{"a credential", "TOKEN", "", true, fault.Credentials, "secret_unreadable"},
		{"a session", "", "", false, fault.System, "unclassified"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request left") }))
			defer server.Close()
			vars := secrets()
			p, err := newPartner(shop(t, server.URL, vars), "waybill/test", time.Now)
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			if test.missing != "" {
				vars[test.missing] = test.value
			}
			for _, s := range p.tell(t.Context(), func() bool { return test.alive }, told(3)) {
				if f := s.Fact.Failure; s.Fact.Event != record.Unconfirmed || f.Class != test.class || f.Code != test.code || len(s.Interactions) != 0 {
					t.Errorf("settlement %+v", s)
				}
				if strings.Contains(s.Fact.Failure.Message, "whsec_!") {
					t.Errorf("the message quotes the secret: %s", s.Fact.Failure.Message)
				}
			}
		})
	}
}

// A request refused for its content is divided until the guilty status is alone.
func TestPartnerDivides(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	requests := 0
	guilty := idOf("s", 5).String()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests++
		mu.Unlock()
		var read struct {
			Statuses []struct {
				ID      string `json:"id"`
				Outcome int    `json:"outcome"`
			} `json:"statuses"`
		}
		if err := json.NewDecoder(r.Body).Decode(&read); err != nil {
			t.Error(err)
		}
		for _, s := range read.Statuses {
			if s.ID == guilty {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"confirmed": read.Statuses})
	}))
	defer server.Close()
	p, err := newPartner(shop(t, server.URL, secrets()), "waybill/test", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	list := told(8)
	kept := 0
	for i, s := range p.tell(t.Context(), alive, list) {
		if s.ID != list[i].ID || (s.Fact.Event == record.Confirmed) == (s.ID.String() == guilty) {
			t.Errorf("settlement %d: %s %s", i, s.ID, s.Fact.Event)
		}
		kept += len(s.Interactions)
	}
	if requests != 7 || kept != requests { // 8, 4+4, 2+2, 1+1
		t.Errorf("%d requests, %d kept; want 7", requests, kept)
	}
}

// forgetful is a ledger that loses answers.
type forgetful struct {
	lost  int // claims whose commit is done and whose answer is lost
	down  int // claims after these that are not done at all
	rows  map[record.ID]record.Record
	calls int
}

func (l *forgetful) ClaimOutcomes(_ context.Context, session int64, refs []ledger.Ref) ([]record.Record, error) {
	l.calls++
	if l.down > 0 && l.lost == 0 {
		l.down--
		return nil, errors.New("no connection")
	}
	claimed := make([]record.Record, len(refs))
	for i, ref := range refs {
		r := l.rows[ref.ID]
		if r.Fence == ref.Fence && r.Outcome.State == record.OutcomeDue {
			r.Fence, r.Session, r.Outcome.State = r.Fence+1, session, record.OutcomeSent
			l.rows[ref.ID], claimed[i] = r, r
		}
	}
	if l.lost > 0 {
		l.lost--
		return nil, fmt.Errorf("the connection broke: %w", ledger.ErrUnknown)
	}
	return claimed, nil
}

func (l *forgetful) Records(_ context.Context, ids []record.ID) (map[record.ID]record.Record, error) {
	found := map[record.ID]record.Record{}
	for _, id := range ids {
		if r, ok := l.rows[id]; ok {
			found[id] = r
		}
	}
	return found, nil
}

// Calls that come together are one claim, of which each gets its own part.
func TestClaimsTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &forgetful{rows: map[record.ID]record.Record{}}
		for i := range 3 {
			l.rows[idOf("s", i)] = record.Record{ID: idOf("s", i), Fence: 4, Outcome: record.Outcome{Number: 1, State: record.OutcomeDue}}
		}
		c, err := NewClaims(&Claimer{Ledger: l, Session: func(context.Context) (confirm.Lease, error) {
			return confirm.Lease{ID: 7, Ends: make(chan struct{}), Alive: alive}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave() // a rebalance: what is claimed is still ours
		var calls sync.WaitGroup
		for _, part := range []struct {
			ctx    context.Context
			refs   []ledger.Ref
			fences string
		}{
			{t.Context(), []ledger.Ref{{ID: idOf("s", 0), Fence: 4}, {ID: idOf("s", 1), Fence: 3}}, "[5 0]"},
			{gone, []ledger.Ref{{ID: idOf("s", 2), Fence: 4}}, "[5]"},
		} {
			calls.Go(func() {
				claimed, lease, err := c.Claim(part.ctx, part.refs)
				var fences []int64
				for _, r := range claimed {
					fences = append(fences, r.Fence)
				}
				if fmt.Sprint(fences) != part.fences || lease.ID != 7 || err != nil {
					t.Errorf("claimed %v under %d, %v; want %s", fences, lease.ID, err, part.fences)
				}
			})
		}
		calls.Wait()
		if l.calls != 1 {
			t.Errorf("%d claims", l.calls)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestClaimWithLostAnswers(t *testing.T) {
	t.Parallel()
	due := func(i int) record.Record {
		return record.Record{ID: idOf("s", i), Fence: 4, Outcome: record.Outcome{Number: 1, State: record.OutcomeDue}}
	}
	others := due(2)
	others.Fence, others.Session, others.Outcome.State = 5, 99, record.OutcomeSent
	refs := []ledger.Ref{{ID: idOf("s", 0), Fence: 4}, {ID: idOf("s", 1), Fence: 3}, {ID: idOf("s", 2), Fence: 4}, {ID: idOf("s", 0), Fence: 4}, {ID: idOf("s", 9), Fence: 1}}
	for _, test := range []struct {
		name               string
		lost, down, lapses int
		calls              int
		fences             []int64
	}{
		{"answered", 0, 0, 0, 1, []int64{5, 0, 0, 0, 0}},
		{"answer lost", 1, 0, 0, 2, []int64{5, 0, 0, 0, 0}},
		{"answers lost and ledger down", 2, 2, 0, 5, []int64{5, 0, 0, 0, 0}},
		{"session lapsed", 1, 0, 1, 1, nil},
		{"ledger down", 0, 1, 0, 1, nil}, // nothing was claimed: the caller asks again
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := &forgetful{lost: test.lost, down: test.down, rows: map[record.ID]record.Record{idOf("s", 0): due(0), idOf("s", 1): due(1), idOf("s", 2): others}}
			ends := make(chan struct{})
			if test.lapses > 0 {
				close(ends)
			}
			c := Claimer{Ledger: l, Session: func(context.Context) (confirm.Lease, error) {
				return confirm.Lease{ID: 7, Ends: ends, Alive: alive}, nil
			}}
			claimed, lease, err := c.Claim(t.Context(), refs)
			if (err != nil) != (test.fences == nil) || lease.ID != 7 || l.calls != test.calls {
				t.Fatalf("claimed %v after %d calls, %v", claimed, l.calls, err)
			}
			for i, fence := range test.fences {
				if claimed[i].Fence != fence {
					t.Errorf("place %d has fence %d, want %d", i, claimed[i].Fence, fence)
				}
			}
		})
	}
}
