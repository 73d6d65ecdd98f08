package e2e

import (
	"context"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"waybill.internal/pkg/localstack/stacktest"
	"waybill.internal/test/harness"
)

// effects checks what must hold whatever was killed: every accepted event is
// one processed and acknowledged record with one row and one executed effect.
func effects(t *testing.T, ctx context.Context, s *harness.Stack, n int) {
	t.Helper()
	if err := s.AwaitClosed(ctx); err != nil {
		states, _ := s.States(ctx)
		t.Fatal(err, states)
	}
	states, err := s.States(ctx)
	if err != nil || states["processed/acknowledged"] != n || len(states) != 1 {
		t.Fatal(states, err)
	}
	if rows, err := s.Count(ctx, `SELECT count(*) FROM service_requests WHERE written = 1`); err != nil || rows != n {
		t.Errorf("%d rows were written exactly once, want %d, %v", rows, n, err)
	}
	executed, keys := map[string]int{}, map[string]string{}
	for _, c := range s.ThirdParty.Calls() {
		if c.Executed {
			executed[c.RequestNo]++
		}
		if before, ok := keys[c.RequestNo]; ok && before != c.Key {
			t.Errorf("request %s came with two keys, %s and %s", c.RequestNo, before, c.Key)
		}
		keys[c.RequestNo] = c.Key
	}
	for no, times := range executed {
		if times != 1 {
			t.Errorf("request %s had %d effects", no, times)
		}
	}
	if len(executed) != n {
		t.Errorf("%d requests had an effect, want %d", len(executed), n)
	}
	confirmed := map[string]bool{}
	for _, told := range s.Partner.Told() {
		if !told.Signed {
			t.Errorf("the status of %s was not signed", told.ID)
		}
		confirmed[told.ID] = confirmed[told.ID] || told.Confirmed
	}
	if len(confirmed) != n {
		t.Errorf("the partner was told of %d records, want %d", len(confirmed), n)
	}
	if out, err := s.Waybill(ctx, "audit", "--grace", "0s"); err != nil {
		t.Errorf("waybill audit: %v\n%s", err, out)
	}
}

// while posts events and runs fault in the middle of them.
func while(t *testing.T, ctx context.Context, s *harness.Stack, list []harness.Event, fault func()) {
	t.Helper()
	var posting sync.WaitGroup
	posting.Go(func() {
		for _, a := range s.PostAll(ctx, list, 16) {
			if a.Err != nil || (a.Status != http.StatusAccepted && a.Status != http.StatusOK) {
				t.Errorf("answer %d %v: %s", a.Status, a.Err, a.Body)
			}
		}
	})
	third := len(list) / 3
	if err := harness.Poll(ctx, func() (bool, error) {
		return len(s.ThirdParty.Calls()) >= third, nil
	}); err != nil {
		t.Fatal("no work was done before the fault: ", err)
	}
	fault()
	posting.Wait()
}

func slowly(d time.Duration) func(string, int) harness.Behaviour {
	return func(string, int) harness.Behaviour { return harness.Behaviour{Delay: d} }
}

func TestKillProcessor(t *testing.T) {
	t.Parallel()
	s, ctx := start(t, harness.Options{})
	s.ThirdParty.Behave(slowly(20 * time.Millisecond))
	_, processor, _, err := s.StartAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	list := events(600, "SR")
	while(t, ctx, s, list, func() {
		processor.Kill()
		if _, err := s.Start("processor"); err != nil {
			t.Error(err)
		}
	})
	effects(t, ctx, s, len(list))
}

func TestKillIngestAndAcknowledger(t *testing.T) {
	t.Parallel()
	s, ctx := start(t, harness.Options{})
	s.ThirdParty.Behave(slowly(5 * time.Millisecond))
	ingest, _, acknowledger, err := s.StartAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	list := events(600, "SR")
	while(t, ctx, s, list, func() {
		acknowledger.Kill()
		ingest.Kill()
		for _, name := range []string{"ingest", "acknowledger"} {
			if _, err := s.Start(name); err != nil {
				t.Error(err)
			}
		}
	})
	effects(t, ctx, s, len(list))
}

func TestKillBroker(t *testing.T) {
	t.Parallel()
	kafka := stacktest.OwnKafka(t)
	s, ctx := start(t, harness.Options{Kafka: kafka.Addr(), Prefix: "kill-broker"})
	s.ThirdParty.Behave(slowly(20 * time.Millisecond))
	if _, _, _, err := s.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	list := events(600, "SR")
	while(t, ctx, s, list, func() {
		if err := kafka.Kill(ctx); err != nil {
			t.Error(err)
		}
		for _, e := range events(50, "while-down") { // Kafka being down is no reason to refuse
			if a := s.Post(ctx, http.DefaultClient, e); a.Status != http.StatusAccepted {
				t.Errorf("without Kafka: answer %d %v: %s", a.Status, a.Err, a.Body)
			}
		}
		if err := kafka.Restart(ctx); err != nil {
			t.Error(err)
		}
	})
	effects(t, ctx, s, len(list)+50)
}

func TestKillPostgres(t *testing.T) {
	t.Parallel()
	postgres := stacktest.OwnPostgres(t)
	s, ctx := start(t, harness.Options{Postgres: postgres.URL()})
	s.ThirdParty.Behave(slowly(20 * time.Millisecond))
	if _, _, _, err := s.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	list := events(600, "SR")
	while(t, ctx, s, list, func() {
		if err := postgres.Kill(ctx); err != nil {
			t.Error(err)
		}
		if err := postgres.Restart(ctx); err != nil {
			t.Error(err)
		}
	})
	effects(t, ctx, s, len(list))
}

// TestZombie: a processor is stopped past its session in the middle of its
// calls, its records are taken over, and then it wakes up.
func TestZombie(t *testing.T) {
	t.Parallel()
	s, ctx := start(t, harness.Options{})
	s.ThirdParty.Behave(slowly(300 * time.Millisecond))
	_, processor, _, err := s.StartAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	list := events(300, "SR")
	while(t, ctx, s, list, func() {
		if err := processor.Signal(syscall.SIGSTOP); err != nil {
			t.Error(err)
		}
		if _, err := s.Start("processor", "WAYBILL_ADMIN_ADDRESS=127.0.0.1:0"); err != nil {
			t.Error(err)
		}
		// The zombie wakes while the others are still at work on what was its own.
		err := harness.Poll(ctx, func() (bool, error) {
			n, err := s.Count(ctx, `SELECT count(*) FROM attempt WHERE event = 'lost'`)
			return n > 0, err
		})
		if err != nil {
			t.Error("nothing was taken over from the stopped processor:", err)
		}
		if err := processor.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	effects(t, ctx, s, len(list))
}

// TestWipedKafka: every topic and offset is gone with records unfinished.
func TestWipedKafka(t *testing.T) {
	t.Parallel()
	kafka := stacktest.OwnKafka(t)
	s, ctx := start(t, harness.Options{Kafka: kafka.Addr(), Prefix: "wiped"})
	s.ThirdParty.Behave(func(string, int) harness.Behaviour { return harness.Behaviour{Status: http.StatusServiceUnavailable} })
	ingest, processor, _, err := s.StartAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	processor.Kill()
	list := events(500, "SR")
	for _, a := range s.PostAll(ctx, list, 16) {
		if a.Status != http.StatusAccepted {
			t.Fatalf("answer %d %v: %s", a.Status, a.Err, a.Body)
		}
	}
	if err := harness.Poll(ctx, func() (bool, error) {
		n, err := s.Count(ctx, `SELECT count(*) FROM outbox WHERE published_at IS NULL`)
		return n == 0, err
	}); err != nil {
		t.Fatal(err)
	}
	if err := kafka.Wipe(ctx); err != nil {
		t.Fatal(err)
	}
	_ = ingest
	s.ThirdParty.Behave(nil)
	if _, err := s.Start("processor"); err != nil {
		t.Fatal(err)
	}
	effects(t, ctx, s, len(list))
}

// TestCrashBetweenCommitAndPublish: ingest dies with committed records that
// Kafka never saw; with the broker stopped that is certain.
func TestCrashBetweenCommitAndPublish(t *testing.T) {
	t.Parallel()
	kafka := stacktest.OwnKafka(t)
	s, ctx := start(t, harness.Options{Kafka: kafka.Addr(), Prefix: "crash"})
	ingest, _, _, err := s.StartAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := kafka.Pause(); err != nil {
		t.Fatal(err)
	}
	list := events(100, "SR")
	for _, a := range s.PostAll(ctx, list, 8) {
		if a.Status != http.StatusAccepted {
			t.Errorf("answer %d %v: %s", a.Status, a.Err, a.Body)
		}
	}
	ingest.Kill()
	if n, err := s.Count(ctx, `SELECT count(*) FROM outbox WHERE published_at IS NULL`); err != nil || n == 0 {
		t.Fatalf("%d batches are unpublished: nothing is tested, %v", n, err)
	}
	if err := kafka.Resume(); err != nil {
		t.Fatal(err)
	}
	effects(t, ctx, s, len(list))
}

// TestRewind: every group starts over at the earliest offset. Nothing happens.
func TestRewind(t *testing.T) {
	t.Parallel()
	s, ctx := start(t, harness.Options{})
	_, processor, acknowledger, err := s.StartAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	list := events(400, "SR")
	s.PostAll(ctx, list, 16)
	effects(t, ctx, s, len(list))
	before, err := fingerprint(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	calls, told := len(s.ThirdParty.Calls()), len(s.Partner.Told())
	for _, p := range []*harness.Proc{processor, acknowledger} {
		if err := p.Stop(30 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	for group, topics := range map[string][]string{"main": {"main.work", "main.retry.1s", "main.retry.2s", "main.retry.3s", "main.retry", "main.replay"}, "acknowledger": {"result"}} {
		if err := harness.Rewind(ctx, s.Kafka, s.Prefix+"."+group, s.Prefix, topics); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"processor", "acknowledger"} {
		if _, err := s.Start(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := harness.AwaitCaughtUp(ctx, s.Kafka, s.Prefix+".main", s.Prefix+".main.work"); err != nil {
		t.Fatal(err)
	}
	if err := harness.AwaitCaughtUp(ctx, s.Kafka, s.Prefix+".acknowledger", s.Prefix+".result"); err != nil {
		t.Fatal(err)
	}
	after, err := fingerprint(ctx, s)
	if err != nil || after != before {
		t.Errorf("the records changed by a rewind: %s, then %s, %v", before, after, err)
	}
	if c, p := len(s.ThirdParty.Calls()), len(s.Partner.Told()); c != calls || p != told {
		t.Errorf("a rewind made %d calls and %d statuses", c-calls, p-told)
	}
}

func fingerprint(ctx context.Context, s *harness.Stack) (string, error) {
	var sum string
	err := s.Pool.QueryRow(ctx, `SELECT md5(string_agg(id::text || state || fence || attempt || outcome_state, ',' ORDER BY id)) || count(*) FROM record`).Scan(&sum)
	return sum, err
}
