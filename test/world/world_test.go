package world_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"go.uber.org/zap"

	"waybill.internal/pkg/daemon"
	"waybill.internal/test/world"
)

func TestMain(m *testing.M) { world.Main(m) }

// greeter is a service that says its greeting when it starts and when it is asked to.
func greeter(again <-chan struct{}) daemon.Spec[string] {
	return daemon.Spec[string]{
		Name: "greeter",
		Load: func(s *daemon.Settings) (string, error) { return s.String("GREETING", "", "what it says"), nil },
		Build: func(_ context.Context, env *daemon.Env, greeting string) ([]daemon.Part, error) {
			return []daemon.Part{{Name: "greet", Run: func(ctx context.Context) error {
				env.Log.Info("greeted", zap.String("greeting", greeting))
				for {
					select {
					case <-ctx.Done():
						return nil
					case <-again:
						now, _ := env.Lookup("GREETING")
						env.Log.Info("greeted", zap.String("greeting", now))
					}
				}
			}}}, nil
		},
	}
}

// own is what a package of tests makes of a world.
type own struct{ *world.World }

func TestStart(t *testing.T) {
	t.Parallel()
	w := own{world.New(t)}
	again := make(chan struct{})
	w.Settings["GREETING"] = "hello"
	first := world.Start(w, greeter(again)).AwaitReady()
	w.Await("the greeting", func() bool { return w.Logs.Has(`"greeted"`, `"hello"`) })
	w.Settings["GREETING"] = "goodbye" // for the next one
	again <- struct{}{}
	w.Await("the same greeting", func() bool { return w.Logs.Count(`"hello"`) == 2 })
	first.Stop()
	first.Stop()
	world.Start(w, greeter(again)).AwaitReady()
	w.Await("the other greeting", func() bool { return w.Logs.Has(`"greeted"`, `"goodbye"`) })
}

func TestLedger(t *testing.T) {
	t.Parallel()
	w := own{world.New(t)}
	if n := world.One[int](w, `SELECT count(*) FROM record`); n != 0 {
		t.Errorf("%d records in a new ledger", n)
	}
	w.Exec(`CREATE TABLE things (no int)`)
	for no := range 3 {
		w.Exec(`INSERT INTO things VALUES ($1)`, no)
	}
	if got := world.All[int](w, `SELECT no FROM things WHERE no > $1 ORDER BY no`, 0); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("the things are %v", got)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	var l world.Logs
	fmt.Fprint(&l, "one two\nthree two\n")
	for _, c := range []struct {
		texts []string
		has   bool
	}{
		{[]string{"one"}, true},
		{[]string{"two", "three"}, true},
		{[]string{"one", "three"}, false}, // not in one line
		{[]string{"four"}, false},
	} {
		if l.Has(c.texts...) != c.has {
			t.Errorf("a line with %q: %t", c.texts, !c.has)
		}
	}
	if n := l.Count("two"); n != 2 {
		t.Errorf("two is there %d times", n)
	}
}
