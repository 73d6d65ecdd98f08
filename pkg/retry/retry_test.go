package retry_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"waybill.internal/pkg/retry"
)

func TestSchedule(t *testing.T) {
	t.Parallel()
	const s, m, h = time.Second, time.Minute, time.Hour
	tests := []struct {
		name            string
		attempt         int
		age, retryAfter time.Duration
		jitter          uint64
		want            retry.Decision
	}{
		{"first", 1, 0, 0, 9, retry.Decision{Delay: 5 * s, Topic: true}},
		{"none counts as first", 0, 0, 0, 9, retry.Decision{Delay: 5 * s, Topic: true}},
		{"second", 2, 0, 0, 9, retry.Decision{Delay: 30 * s, Topic: true}},
		{"third", 3, 0, 0, math.MaxUint64, retry.Decision{Delay: 5 * m, Topic: true}},
		{"ledger", 4, 0, 0, 0, retry.Decision{Delay: 15 * m}},
		{"ledger, most jitter", 4, 0, 0, math.MaxUint64, retry.Decision{Delay: 18 * m}},
		{"fifth", 5, 0, 0, 0, retry.Decision{Delay: 30 * m}},
		{"sixth", 6, 0, 0, 0, retry.Decision{Delay: h}},
		{"seventh", 7, 0, 0, 0, retry.Decision{Delay: 2 * h}},
		{"eleventh", 11, 0, 0, 0, retry.Decision{Delay: 2 * h}},
		{"twelfth is the last", 12, 0, 0, 0, retry.Decision{GiveUp: true}},
		{"beyond", 999, 0, 0, 0, retry.Decision{GiveUp: true}},
		{"old", 1, 24 * h, 0, 0, retry.Decision{GiveUp: true}},
		{"nearly old is tried once more", 7, 24*h - 1, 0, 0, retry.Decision{Delay: 2 * h}},
		{"wish below the delay", 2, 0, 4 * s, 0, retry.Decision{Delay: 30 * s, Topic: true}},
		{"wish of exactly a topic", 1, 0, 30 * s, 0, retry.Decision{Delay: 30 * s, Topic: true}},
		{"wish between topics", 1, 0, 31 * s, 0, retry.Decision{Delay: 5 * m, Topic: true}},
		{"wish beyond the topics", 1, 0, 6 * m, 0, retry.Decision{Delay: 6 * m}},
		{"wish in the ledger", 4, 0, 40 * m, 0, retry.Decision{Delay: 40 * m}},
		{"hostile wish", 1, 0, math.MaxInt64, 0, retry.Decision{Delay: 24 * h}},
		{"negative wish", 1, 0, -h, 0, retry.Decision{Delay: 5 * s, Topic: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := retry.Default().Next(tt.attempt, tt.age, tt.retryAfter, tt.jitter); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func policies() *rapid.Generator[retry.Policy] {
	return rapid.Custom(func(t *rapid.T) retry.Policy {
		delays := rapid.SliceOfNDistinct(rapid.Int64Range(1, int64(retry.MaxTopicDelay)), 0, retry.MaxDelays, rapid.ID[int64]).Draw(t, "delays")
		slices.Sort(delays)
		p := retry.Policy{
			Attempts:    rapid.IntRange(1, retry.MaxAttempts).Draw(t, "attempts"),
			GiveUpAfter: time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "give up")),
		}
		for _, d := range delays {
			p.Delays = append(p.Delays, time.Duration(d))
		}
		return p
	})
}

func TestNeverEarlyAndBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := policies().Draw(t, "policy")
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		attempt := rapid.IntRange(-1, 2*retry.MaxAttempts).Draw(t, "attempt")
		age := time.Duration(rapid.Int64().Draw(t, "age"))
		wish := time.Duration(rapid.Int64().Draw(t, "wish"))
		d := p.Next(attempt, age, wish, rapid.Uint64().Draw(t, "jitter"))
		if d.GiveUp != (max(attempt, 1) >= p.Attempts || age >= p.GiveUpAfter) {
			t.Fatalf("gives up at the wrong time: %+v", d)
		}
		if d.GiveUp {
			if d != (retry.Decision{GiveUp: true}) {
				t.Fatalf("gives up and waits: %+v", d)
			}
			return
		}
		if d.Delay < min(wish, retry.MaxRetryAfter) {
			t.Fatalf("early: %s for a Retry-After of %s", d.Delay, wish)
		}
		if d.Topic != slices.Contains(p.Delays, d.Delay) && d.Topic {
			t.Fatalf("no topic has the delay %s", d.Delay)
		}
		if d.Delay <= 0 || d.Delay > retry.MaxRetryAfter+retry.MaxRetryAfter/5+1 {
			t.Fatalf("out of bounds: %s", d.Delay)
		}
	})
}

func TestMonotone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := policies().Draw(t, "policy")
		p.Attempts, p.GiveUpAfter = retry.MaxAttempts, math.MaxInt64
		jitter := rapid.Uint64().Draw(t, "jitter")
		a1 := rapid.IntRange(1, 20).Draw(t, "attempt")
		a2 := rapid.IntRange(a1, 20).Draw(t, "later attempt")
		w1 := time.Duration(rapid.Int64Range(0, int64(30*time.Hour)).Draw(t, "wish"))
		w2 := time.Duration(rapid.Int64Range(int64(w1), int64(30*time.Hour)).Draw(t, "longer wish"))
		j2 := rapid.Uint64Min(jitter).Draw(t, "more jitter")
		first, later := p.Next(a1, 0, w1, jitter), p.Next(a2, 0, w2, j2)
		if first.Delay > later.Delay {
			t.Fatalf("attempt %d wish %s waits %s, attempt %d wish %s only %s", a1, w1, first.Delay, a2, w2, later.Delay)
		}
		if later.Topic && !first.Topic {
			t.Fatal("comes back from the ledger to a topic")
		}
	})
}

func TestValidate(t *testing.T) {
	t.Parallel()
	good := retry.Default()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := map[string]func(*retry.Policy){
		"falling":         func(p *retry.Policy) { p.Delays = []time.Duration{2, 1} },
		"equal":           func(p *retry.Policy) { p.Delays = []time.Duration{2, 2} },
		"zero":            func(p *retry.Policy) { p.Delays = []time.Duration{0} },
		"too long":        func(p *retry.Policy) { p.Delays = []time.Duration{2 * time.Hour} },
		"too many":        func(p *retry.Policy) { p.Delays = make([]time.Duration, 9) },
		"no attempts":     func(p *retry.Policy) { p.Attempts = 0 },
		"too many tries":  func(p *retry.Policy) { p.Attempts = 1001 },
		"no give up time": func(p *retry.Policy) { p.GiveUpAfter = 0 },
	}
	for name, spoil := range bad {
		p := retry.Default()
		spoil(&p)
		if p.Validate() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
