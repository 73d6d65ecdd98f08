package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/segmentio/kafka-go"
	"google.golang.org/protobuf/proto"

	waybillv1 "waybill.internal/proto/waybill/v1"
	"waybill.internal/test/harness"
)

func events(n int, prefix string) []harness.Event {
	list := make([]harness.Event, n)
	for i := range list {
		list[i] = harness.NewEvent(fmt.Sprintf("%s-evt-%d", prefix, i), fmt.Sprintf("%s-%d", prefix, i))
	}
	return list
}

// TestShape: after fault-free records each topic holds exactly what it should,
// one message per record, although nothing is ever sent again.
func TestShape(t *testing.T) {
	t.Parallel()
	s, ctx := start(t, harness.Options{Env: map[string]string{"WAYBILL_PROCESSOR_REDRIVE": "false"}})
	const n, delayed, poison = 1000, 40, 5
	s.ThirdParty.Behave(func(requestNo string, nth int) harness.Behaviour {
		switch i := number(requestNo); {
		case i < delayed && nth == 1:
			return harness.Behaviour{Status: http.StatusServiceUnavailable} // one retry
		case i >= n-poison:
			return harness.Behaviour{Status: http.StatusInternalServerError}
		}
		return harness.Behaviour{}
	})
	if _, _, _, err := s.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	for _, a := range s.PostAll(ctx, events(n, "SR"), 32) {
		if a.Err != nil || a.Status != http.StatusAccepted || a.TrackingID == "" {
			t.Fatalf("answer %d %v, tracking id %q: %s", a.Status, a.Err, a.TrackingID, a.Body)
		}
	}
	if err := s.AwaitClosed(ctx); err != nil {
		states, _ := s.States(ctx)
		t.Fatal(err, states)
	}
	states, err := s.States(ctx)
	if err != nil || states["processed/acknowledged"] != n-poison || states["dead/acknowledged"] != poison {
		t.Fatal(states, err)
	}
	work := dump(t, s, "main.work")
	perRecord(t, work, n, "work")
	for _, m := range work {
		var envelope waybillv1.Record
		if err := proto.Unmarshal(m.Value, &envelope); err != nil {
			t.Fatal("a message on work is no record:", err)
		}
		if string(m.Key) != envelope.GetEntityKey() || envelope.GetFence() != 1 {
			t.Errorf("key %q, entity key %q, fence %d", m.Key, envelope.GetEntityKey(), envelope.GetFence())
		}
	}
	var retries []kafka.Message
	for _, topic := range []string{"main.retry.1s", "main.retry.2s", "main.retry.3s"} {
		retries = append(retries, dump(t, s, topic)...)
	}
	if attempts, err := s.Count(ctx, `SELECT count(*) FROM attempt WHERE kind = 'process' AND to_state = 'retrying'`); err != nil || len(retries) != attempts || attempts != delayed+poison*3 {
		t.Errorf("%d messages on retry topics for %d delayed retries, %v", len(retries), attempts, err)
	}
	perRecord(t, dump(t, s, "result"), n, "result")
	perRecord(t, dump(t, s, "dead-letter"), poison, "dead-letter")
	if rest := dump(t, s, "main.retry"); len(rest) != 0 {
		t.Errorf("%d messages on retry without a re-driver", len(rest))
	}
}

func number(requestNo string) int {
	var prefix string
	var i int
	if _, err := fmt.Sscanf(requestNo, "SR-%d", &i); err != nil {
		fmt.Sscanf(requestNo, "%s-%d", &prefix, &i)
	}
	return i
}

func dump(t *testing.T, s *harness.Stack, topic string) []kafka.Message {
	t.Helper()
	messages, err := harness.Dump(t.Context(), s.Kafka, s.Prefix+"."+topic)
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// perRecord checks that there is exactly one message for each of n records.
func perRecord(t *testing.T, messages []kafka.Message, n int, topic string) {
	t.Helper()
	seen := map[string]int{}
	for _, m := range messages {
		seen[recordOf(m)]++
	}
	if len(messages) != n || len(seen) != n {
		t.Errorf("%s holds %d messages about %d records, want %d of each", topic, len(messages), len(seen), n)
	}
}

func recordOf(m kafka.Message) string { return harness.Header(m, "waybill-record") }
