package record_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/record"
)

// A transcript is a story: commands, a line of dashes, and what came of them.
// Commands: policy (tells, attempts, tries, topics, park), after (a wait), and
// any event with the fact's fields. The output is the record and its effects.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "transcripts", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, f, newStory().tell(string(text)))
		})
	}
}

var dawn = time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)

type story struct {
	policy record.Policy
	now    time.Time
	record record.Record
}

func newStory() *story {
	s := &story{now: dawn, record: record.Record{ID: record.ID{15: 1}, Version: 1}}
	s.policy, _ = policyOf(nil)
	return s
}

// tell runs the commands of a transcript and returns it with today's output.
func (s *story) tell(text string) string {
	var out strings.Builder
	for part := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		commands, _, _ := strings.Cut(part, "\n----")
		if out.Len() > 0 {
			out.WriteString("\n")
		}
		out.WriteString(commands + "\n")
		if strings.HasPrefix(commands, "#") && !strings.Contains(commands, "\n") {
			continue // a remark
		}
		out.WriteString("----\n")
		for command := range strings.SplitSeq(commands, "\n") {
			if !strings.HasPrefix(command, "#") {
				out.WriteString(s.run(command))
			}
		}
	}
	return out.String()
}

func (s *story) run(command string) string {
	words := strings.Fields(command)
	if len(words) == 0 {
		return ""
	}
	args := map[string]string{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		args[k] = v
	}
	switch words[0] {
	case "policy":
		p, err := policyOf(args)
		if err != nil {
			return err.Error() + "\n"
		}
		s.policy = p
		return ""
	case "after":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return err.Error() + "\n"
		}
		s.now = s.now.Add(d)
		return ""
	}
	f, err := s.fact(record.Event(words[0]), args)
	if err != nil {
		return err.Error() + "\n"
	}
	to, effects, err := record.Step(s.policy, s.record, f, s.now)
	if err != nil {
		return err.Error() + "\n"
	}
	s.record = to
	return s.describe(effects)
}

func number(args map[string]string, key string, otherwise int) (int, error) {
	if args[key] == "" {
		return otherwise, nil
	}
	return strconv.Atoi(args[key])
}

// policyOf gives the topics' delays of 5s, 30s and 5m, then 1h in the ledger.
func policyOf(args map[string]string) (record.Policy, error) {
	attempts, err := number(args, "attempts", 5)
	if err != nil {
		return record.Policy{}, err
	}
	tries, err := number(args, "tries", 3)
	if err != nil {
		return record.Policy{}, err
	}
	giveUpAfter := 24 * time.Hour
	topics := []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute}
	return record.Policy{
		Tells:   func(st record.State) bool { return args["tells"] == "" || strings.Contains(args["tells"], string(st)) },
		ParkFor: 10 * time.Minute,
		Retry: func(attempt int, age, retryAfter time.Duration) record.Schedule {
			if attempt >= attempts || age >= giveUpAfter {
				return record.Schedule{GiveUp: true}
			}
			if attempt <= len(topics) && topics[attempt-1] >= retryAfter {
				return record.Schedule{Delay: topics[attempt-1], Topic: true}
			}
			return record.Schedule{Delay: max(time.Hour, retryAfter)}
		},
		Resend: func(try int, age, retryAfter time.Duration) record.Schedule {
			return record.Schedule{GiveUp: try >= tries, Delay: max(time.Minute, retryAfter)}
		},
	}, nil
}

func (s *story) fact(e record.Event, args map[string]string) (record.Fact, error) {
	f := record.Fact{Event: e, Failure: record.Failure{Class: record.Class(args["class"]), Code: args["code"]}}
	session, err := number(args, "session", 0)
	if err != nil {
		return f, err
	}
	version, err := number(args, "version", 0)
	if err != nil {
		return f, err
	}
	if f.Number, err = number(args, "number", 0); err != nil {
		return f, err
	}
	f.Session, f.Version = int64(session), int64(version)
	if args["retry_after"] != "" {
		if f.Failure.RetryAfter, err = time.ParseDuration(args["retry_after"]); err != nil {
			return f, err
		}
	}
	if args["until"] != "" { // from the story's beginning
		d, err := time.ParseDuration(args["until"])
		f.Until = dawn.Add(d)
		return f, err
	}
	return f, nil
}

func (s *story) describe(effects []record.Effect) string {
	r := s.record
	var b strings.Builder
	fmt.Fprintf(&b, "+%s %s fence=%d attempt=%d losses=%d version=%d", s.now.Sub(dawn), r.State, r.Fence, r.Attempt, r.Losses, r.Version)
	if r.Session != 0 {
		fmt.Fprintf(&b, " session=%d", r.Session)
	}
	if r.Failure.Class != "" || r.Failure.Code != "" {
		fmt.Fprintf(&b, " failure=%s/%s", r.Failure.Class, r.Failure.Code)
	}
	fmt.Fprintf(&b, " age=%s", s.now.Sub(r.Since))
	if r.Outcome.Number > 0 {
		fmt.Fprintf(&b, " outcome=%d/%s try=%d", r.Outcome.Number, r.Outcome.State, r.Outcome.Try)
	}
	b.WriteString("\n")
	for _, e := range effects {
		b.WriteString("  ")
		switch {
		case e.Publish != "":
			fmt.Fprintf(&b, "publish %s", e.Publish)
		case e.Wait != "":
			fmt.Fprintf(&b, "wait %s", e.Wait)
		default:
			fmt.Fprintf(&b, "unwait %s", e.Unwait)
		}
		if e.Delay > 0 {
			fmt.Fprintf(&b, " %s", e.Delay)
		}
		if !e.Due.IsZero() {
			fmt.Fprintf(&b, " due +%s", e.Due.Sub(dawn))
		}
		b.WriteString("\n")
	}
	return b.String()
}
