package record_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"waybill.internal/pkg/record"
)

func facts() *rapid.Generator[record.Fact] {
	return rapid.Custom(func(t *rapid.T) record.Fact {
		return record.Fact{
			Event:   rapid.SampledFrom(record.Events()).Draw(t, "event"),
			Session: rapid.Int64Range(1, 9).Draw(t, "session"),
			Version: rapid.Int64Range(0, 3).Draw(t, "version"),
			Number:  rapid.IntRange(0, 4).Draw(t, "number"),
			Failure: record.Failure{
				Class:      rapid.SampledFrom(append(record.Classes(), record.ClassNone)).Draw(t, "class"),
				Code:       "code",
				Detail:     []byte(`[]`),
				RetryAfter: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "retry after")),
			},
			Until: rapid.SampledFrom([]time.Time{{}, dawn.Add(time.Hour), dawn.Add(-time.Hour)}).Draw(t, "until"),
		}
	})
}

// likely are the facts that are legal in most walks, so that walks get far.
func likely(t *rapid.T, r record.Record, f record.Fact) record.Fact {
	if rapid.IntRange(0, 9).Draw(t, "any") == 0 {
		return f
	}
	var legal []record.Event
	for _, e := range record.Events() {
		_, err := record.Next(r.State, e)
		_, outcomeErr := record.NextOutcome(r.Outcome.State, e)
		if err == nil || (outcomeErr == nil && r.State.Final()) {
			legal = append(legal, e)
		}
	}
	f.Event = rapid.SampledFrom(legal).Draw(t, "legal event")
	return f
}

func copyOf(r record.Record) record.Record {
	r.Failure.Detail = slices.Clone(r.Failure.Detail)
	return r
}

func TestWalks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tells := rapid.SliceOfDistinct(rapid.SampledFrom(record.States()), rapid.ID[record.State]).Draw(t, "tells")
		p, err := policyOf(nil)
		if err != nil {
			t.Fatal(err)
		}
		p.Tells = func(s record.State) bool { return slices.Contains(tells, s) }
		now := dawn
		var r record.Record
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(8*time.Hour)).Draw(t, "passes")))
			f := likely(t, r, facts().Draw(t, "fact"))
			before := copyOf(r)
			to, effects, err := record.Step(p, r, f, now)
			if !reflect.DeepEqual(before, r) {
				t.Fatalf("Step changed its argument:\n%+v\n%+v", before, r)
			}
			again, sameEffects, _ := record.Step(p, r, f, now)
			if !reflect.DeepEqual(again, to) || !reflect.DeepEqual(sameEffects, effects) {
				t.Fatal("Step is not pure: same arguments, another answer")
			}
			if err != nil {
				if !errors.Is(err, record.ErrIllegal) || !reflect.DeepEqual(to, r) || effects != nil {
					t.Fatalf("an illegal fact did something: %v, %v", effects, err)
				}
				continue
			}
			checkStep(t, r, to, f, effects, now, p)
			r = to
		}
	})
}

func publishes(effects []record.Effect, topic record.Topic) int {
	n := 0
	for _, e := range effects {
		if e.Publish == topic {
			n++
		}
	}
	return n
}

func waits(effects []record.Effect, w record.Wait) bool {
	return slices.ContainsFunc(effects, func(e record.Effect) bool { return e.Wait == w })
}

func checkStep(t *rapid.T, from, to record.Record, f record.Fact, effects []record.Effect, now time.Time, p record.Policy) {
	if to.Fence != from.Fence+1 {
		t.Fatalf("fence %d after %d", to.Fence, from.Fence)
	}
	if to.Attempt < 0 || to.Losses < 0 || to.Outcome.Number < from.Outcome.Number {
		t.Fatalf("a counter is wrong: %+v", to)
	}
	if !to.MovedAt.Equal(now) || to.Since.After(now) || to.Since.Before(from.Since) {
		t.Fatalf("times are wrong: %+v at %s", to, now)
	}
	if working := to.State == record.Processing || to.Outcome.State == record.OutcomeSent; working != (to.Session != 0) {
		t.Fatalf("%s, outcome %s, session %d", to.State, to.Outcome.State, to.Session)
	}
	if (to.State == record.Rejected || to.State == record.Dead) && to.Failure.Class == record.ClassNone {
		t.Fatalf("%s without a class", to.State)
	}
	if to.Outcome.State != record.NoOutcome && !to.State.Final() {
		t.Fatalf("a %s record has an outcome that is %s", to.State, to.Outcome.State)
	}
	if from.ID != to.ID || from.Seq != to.Seq || from.Key != to.Key || from.Revision != to.Revision {
		t.Fatal("Step changed what never changes")
	}
	held := 0
	for _, e := range effects {
		kinds := 0
		for _, is := range []bool{e.Publish != "", e.Wait != "", e.Unwait != ""} {
			if is {
				kinds++
			}
		}
		if kinds != 1 {
			t.Fatalf("an effect must be one thing: %+v", e)
		}
		if e.Wait != "" || (e.Publish != "" && e.Publish != record.TopicDeadLetter) {
			held++
		}
	}
	if outcomeMove := from.State.Final() && from.State == to.State && f.Event != record.Replayed; outcomeMove {
		checkOutcome(t, from, to, effects)
		return
	}
	checkMove(t, to, from, effects, held, p)
}

// checkMove: whatever is not final is held by exactly one thing, and what is
// final and told has exactly one message, with the next number.
func checkMove(t *rapid.T, to, from record.Record, effects []record.Effect, held int, p record.Policy) {
	results := publishes(effects, record.TopicResult)
	switch {
	case to.State == record.Processing:
		if len(effects) > 0 {
			t.Fatalf("a claim is held by its lease alone: %+v", effects)
		}
	case !to.State.Final():
		if held != 1 {
			t.Fatalf("a %s record is held by %d things: %+v", to.State, held, effects)
		}
	case p.Tells(to.State):
		if results != 1 || to.Outcome.Number != from.Outcome.Number+1 || to.Outcome.State != record.OutcomeDue || to.Outcome.Try != 0 {
			t.Fatalf("%d results for outcome %d after %d, %s", results, to.Outcome.Number, from.Outcome.Number, to.Outcome.State)
		}
	default:
		if results != 0 || to.Outcome.Number != from.Outcome.Number || to.Outcome.State != record.NoOutcome {
			t.Fatalf("told although the partner does not want it: %+v", effects)
		}
	}
	if dead := to.State == record.Dead; waits(effects, record.WaitDead) != dead || publishes(effects, record.TopicDeadLetter) > 1 || (publishes(effects, record.TopicDeadLetter) == 1) != dead {
		t.Fatalf("%s: %+v", to.State, effects)
	}
	checkUnwaits(t, from, effects)
}

// checkUnwaits: whatever waited for the state that was left waits no more.
func checkUnwaits(t *rapid.T, from record.Record, effects []record.Effect) {
	gone := map[record.Wait]bool{}
	for _, e := range effects {
		if e.Unwait != "" {
			gone[e.Unwait] = true
		}
	}
	if from.State == record.Parked && !gone[record.WaitParked] || from.State == record.Dead && !gone[record.WaitDead] {
		t.Fatalf("left %s, but still waits there: %+v", from.State, effects)
	}
	if from.Outcome.State == record.Unacknowledged && !gone[record.WaitUnacknowledged] {
		t.Fatalf("a new life, but its old outcome still waits: %+v", effects)
	}
}

func checkOutcome(t *rapid.T, from, to record.Record, effects []record.Effect) {
	if to.Outcome.Number != from.Outcome.Number || to.Attempt != from.Attempt || !to.Since.Equal(from.Since) {
		t.Fatalf("an outcome's move changed the record: %+v", to)
	}
	result := publishes(effects, record.TopicResult)
	switch to.Outcome.State {
	case record.OutcomeDue:
		if (result == 1) == waits(effects, record.WaitOutcome) {
			t.Fatalf("a due outcome needs a message or a wait: %+v", effects)
		}
	case record.Unacknowledged:
		if !waits(effects, record.WaitUnacknowledged) || result != 0 {
			t.Fatalf("given up, but nobody will see it: %+v", effects)
		}
	default:
		if result != 0 || waits(effects, record.WaitOutcome) || waits(effects, record.WaitUnacknowledged) {
			t.Fatalf("%s: %+v", to.Outcome.State, effects)
		}
	}
}

// Between two requeues a record is always worked with one version, unless no
// attempt began: a retry sends the same bytes.
func TestVersionIsPinned(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, err := policyOf(map[string]string{"attempts": "9"})
		if err != nil {
			t.Fatal(err)
		}
		now, pinned := dawn, int64(0)
		var r record.Record
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			f := likely(t, r, facts().Draw(t, "fact"))
			f.Version = int64(i + 1)
			now = now.Add(time.Minute)
			to, _, err := record.Step(p, r, f, now)
			if err != nil {
				continue
			}
			switch {
			case to.Attempt == 0 && (f.Event == record.Requeued || f.Event == record.Replayed || f.Event == record.Revived):
				pinned = 0
			case f.Event == record.GivenBack && r.Attempt == 1 && r.Losses == 0 && to.Failure.Class == record.ClassNone:
				pinned = 0
			case f.Event == record.Claimed && pinned == 0:
				pinned = to.Version
			case f.Event == record.Claimed && to.Version != pinned:
				t.Fatalf("first tried with version %d, now with %d", pinned, to.Version)
			}
			r = to
		}
	})
}

func TestIDs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := []byte(rapid.String().Draw(t, "installation key"))
		id := record.DeriveID(key, rapid.String().Draw(t, "integration"), rapid.String().Draw(t, "key"))
		back, err := record.ParseID(id.String())
		if err != nil || back != id {
			t.Fatalf("%s became %s: %v", id, back, err)
		}
		if id[6]>>4 != 8 || id[8]>>6 != 2 {
			t.Fatalf("%s is no UUIDv8", id)
		}
	})
	if record.DeriveID(nil, "ab", "c") == record.DeriveID(nil, "a", "bc") {
		t.Error("two events share an id")
	}
	for _, bad := range []string{"", "x", "00000000-0000-8000-8000-00000000000", "00000000-0000-8000-8000-00000000000g", "0000000000000-8000-8000-0000-00000000"} {
		if _, err := record.ParseID(bad); err == nil {
			t.Errorf("%q is taken for an id", bad)
		}
	}
	var id record.ID
	if err := id.UnmarshalText([]byte("nonsense")); err == nil || id != (record.ID{}) {
		t.Error("a text that is no id changed the id")
	}
}
