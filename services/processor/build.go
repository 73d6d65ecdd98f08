package processor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"waybill.internal/pkg/backbone"
	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/stream"
	"waybill.internal/services/processor/internal/attempt"
	"waybill.internal/services/processor/internal/claim"
	"waybill.internal/services/processor/internal/conserve"
	"waybill.internal/services/processor/internal/destination"
	"waybill.internal/services/processor/internal/redrive"
	"waybill.internal/services/processor/internal/settle"
	"waybill.internal/services/processor/internal/steps"
)

const (
	lookupConns  = 4
	closeTimeout = 10 * time.Second
)

// Step is a step written in Go.
type Step = steps.Func

// Option of Spec.
type Option func(map[string]steps.Func)

// WithStep builds a Go function into the processor; integrations use it with
// `custom: {name: …}`. A name given twice takes the later function.
func WithStep(name string, f Step) Option {
	return func(funcs map[string]steps.Func) { funcs[name] = f }
}

// Spec is the processor as a value: the binary runs it, and so do tests and `waybill up`.
func Spec(options ...Option) daemon.Spec[Config] {
	funcs := map[string]steps.Func{}
	for _, o := range options {
		o(funcs)
	}
	return daemon.Spec[Config]{
		Name: "processor", Summary: "Works accepted records: claims them, runs their steps, settles them.", AdminAddress: "127.0.0.1:9081",
		Load: load,
		Build: func(ctx context.Context, env *daemon.Env, c Config) ([]daemon.Part, error) {
			return build(ctx, env, c, funcs)
		},
	}
}

// build is the wiring diagram: what comes first starts first and stops last.
func build(ctx context.Context, env *daemon.Env, c Config, funcs map[string]steps.Func) ([]daemon.Part, error) {
	b, err := backbone.Open(ctx, env, c.Config)
	if err != nil {
		return nil, err
	}
	if c.Lanes == nil {
		c.Lanes = b.Lanes
	}
	if err := checkFuncs(b, funcs); err != nil {
		return nil, err
	}
	pool, err := lookupPool(ctx, c)
	if err != nil {
		return nil, err
	}
	lookups, err := steps.NewLookups(pool)
	if err != nil {
		return nil, err
	}
	watch, err := newWatch(env)
	if err != nil {
		return nil, err
	}
	settler, err := settle.New(b.Ledger, b.Publisher, env.Log)
	if err != nil {
		return nil, err
	}
	destinations := destination.NewSet("waybill/" + env.Version)
	worker := &attempt.Worker{Ledger: b.Ledger, Catalog: b.Catalog, Settler: settler, Log: env.Log, Settled: watch.settled,
		Runner: &steps.Runner{Lookups: lookups, Destinations: destinations, Funcs: funcs}}
	quarantine := stream.NewQuarantine(b.Producer, b.Topics, watch.quarantined)
	claimer, err := claim.New(claim.Config{Ledger: b.Ledger, Sessions: b.Sessions, Shares: shares(c.InFlight), Quarantine: quarantine.Put, Work: worker.Work, Log: env.Log,
		Version: func(integration string) int64 { e, _ := b.Catalog.Get(integration); return e.Version }})
	if err != nil {
		return nil, err
	}
	parts := append(b.Parts(),
		daemon.AtEnd("destinations", closeTimeout, closing(destinations.Close, pool.Close)),
		daemon.AtEnd("settler", closeTimeout, settler.Close),
		workers(claimer, c.Drain),
		daemon.Part{Name: "conservation", Run: conserve.New(b.Ledger, c.AuditEvery, env.Log, watch.audited).Run})
	if c.Redrive {
		admin := b.Kafka.NewAdmin()
		parts = append(parts,
			daemon.AtEnd("redriver's connections", closeTimeout, closing(admin.Close)),
			daemon.Part{Name: "redriver", Run: newRedriver(b, c, admin, env, watch).Run, Stop: 35 * time.Second})
	}
	for _, lane := range c.Lanes {
		consumer, err := b.Kafka.NewConsumer(stream.ConsumerConfig{Group: b.Topics.Group(lane), Topics: b.Topics.OfLane(lane), Handle: claimer.Handle,
			HandleLimit: handleLimit(b), OnHang: watch.hangs, Report: watch.kafka})
		if err != nil {
			return nil, err
		}
		parts = append(parts, daemon.Part{Name: "consumer of lane " + lane, Run: consumer.Run})
	}
	return parts, nil
}

// handleLimit is when a claim that has not come back is reported: well after
// the longest wait on a retry topic.
func handleLimit(b *backbone.Backbone) time.Duration {
	longest := time.Minute
	for _, d := range b.Topics.Delays {
		longest = max(longest, 2*d)
	}
	return longest
}

func shares(inFlight int) claim.Shares {
	n := int64(inFlight)
	return claim.Shares{New: n * 60 / 100, Retry: n * 30 / 100, Replay: n * 10 / 100}
}

func newRedriver(b *backbone.Backbone, c Config, admin *stream.Admin, env *daemon.Env, w *watch) *redrive.Redriver {
	groups := map[string][]string{b.Topics.ResultGroup(): {"result"}}
	for _, lane := range c.Lanes {
		var names []string
		for _, topic := range b.Topics.OfLane(lane) {
			names = append(names, strings.TrimPrefix(topic, b.Topics.Prefix+"."))
		}
		groups[b.Topics.Group(lane)] = names
	}
	known := map[string]bool{"result": true}
	for _, lane := range b.Lanes {
		for _, topic := range b.Topics.OfLane(lane) {
			known[strings.TrimPrefix(topic, b.Topics.Prefix+".")] = true
		}
	}
	return redrive.New(redrive.Config{Ledger: b.Ledger, Publisher: b.Publisher, Sessions: b.Sessions, Kafka: admin, Prefix: b.Topics.Prefix,
		Groups: groups, Known: func(topic string) bool { return known[topic] }, Log: env.Log, Observe: w.redriven})
}

// checkFuncs finds custom steps that this binary does not hold, before a record does.
func checkFuncs(b *backbone.Backbone, funcs map[string]steps.Func) error {
	for _, e := range b.Catalog.Entries() {
		for _, s := range e.Process.Steps {
			if s.Custom != nil && funcs[s.Custom.Name] == nil {
				return fmt.Errorf("integration %s uses the custom step %s, which is not built into this processor; give it with processor.WithStep", e.Name, s.Custom.Name)
			}
		}
	}
	return nil
}

// lookupPool is apart from the ledger's: a lookup's table may need plans of its own.
func lookupPool(ctx context.Context, c Config) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(c.Postgres.Reveal())
	if err != nil {
		return nil, fmt.Errorf("WAYBILL_POSTGRES_URL: %w", err)
	}
	config.MaxConns = lookupConns
	config.ConnConfig.RuntimeParams["application_name"] = "waybill-lookup"
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	config.ConnConfig.RuntimeParams["statement_timeout"] = "5s"
	return pgxpool.NewWithConfig(ctx, config)
}

// workers are cut short when the drain is over, and then return within a call's end.
func workers(c *claim.Claimer, drain time.Duration) daemon.Part {
	p := daemon.AtEnd("workers", drain, c.Drain)
	p.Stop += closeTimeout
	return p
}

func closing(ends ...func()) func(context.Context) error {
	return func(context.Context) error {
		for _, end := range ends {
			end()
		}
		return nil
	}
}
