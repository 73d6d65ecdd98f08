// Package installation runs a whole Waybill in one process: Postgres, Kafka and
// the three services, for `waybill up`, the demo and tests.
//
// The services are the very ones of the binaries, each with its own settings,
// admin listener, pool and session. They stop in the order of a record's way, so
// that what ingest gave a receipt for can still be worked and told; then the
// servers stop, if they were started here.
package installation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack"
	"waybill.internal/services/acknowledger"
	"waybill.internal/services/ingest"
	"waybill.internal/services/processor"
)

const (
	// startLimit bounds the time until every service is ready.
	startLimit = 2 * time.Minute
	// stopLimit bounds the stop of the servers.
	stopLimit = 30 * time.Second
)

// Options say what to run.
type Options struct {
	// Dir keeps data between runs; empty: temporary folders, deleted by Stop.
	Dir string
	// Own takes neither servers that the environment names nor Docker's: so two
	// installations never meet.
	Own bool
	// Settings win over Lookup, for every service.
	Settings map[string]string
	Lookup   daemon.Lookup
	Log      io.Writer // of the services
	// Prepare, if given, is called when the ledger has its schema and nothing runs yet.
	Prepare func(ctx context.Context, postgresURL string) error
}

// Installation is running.
type Installation struct {
	PostgresURL    string
	KafkaBrokers   string
	PostgresOrigin localstack.Origin
	KafkaOrigin    localstack.Origin
	Services       []Service // in the order of a record's way

	options Options
	stops   []func(context.Context) error // of the servers
}

// Service is one that runs.
type Service struct {
	Name string
	*daemon.Process
}

// Start starts everything and returns when all of it is ready. When it fails
// nothing is left running.
func Start(ctx context.Context, o Options) (*Installation, error) {
	i := &Installation{options: o}
	if err := i.start(ctx); err != nil {
		return nil, errors.Join(err, i.Stop())
	}
	return i, nil
}

func (i *Installation) start(ctx context.Context) error {
	if err := i.servers(ctx); err != nil {
		return err
	}
	if _, err := ledger.Migrate(ctx, i.PostgresURL); err != nil {
		return err
	}
	if i.options.Prepare != nil {
		if err := i.options.Prepare(ctx, i.PostgresURL); err != nil {
			return err
		}
	}
	// The services do not end with ctx, but in order, by Stop.
	life := context.WithoutCancel(ctx)
	for _, begin := range []func() error{
		func() error { return launch(life, i, ingest.Spec()) },
		func() error { return launch(life, i, processor.Spec()) },
		func() error { return launch(life, i, acknowledger.Spec()) },
	} {
		if err := begin(); err != nil {
			return err
		}
	}
	return i.awaitReady(ctx)
}

func (i *Installation) servers(ctx context.Context) error {
	if i.options.Own {
		return i.ownServers(ctx)
	}
	if i.options.Dir != "" {
		// Postgres may run as another user, who must be able to get there.
		if err := os.MkdirAll(i.options.Dir, 0o755); err != nil {
			return fmt.Errorf("make the data folder: %w", err)
		}
	}
	stack, err := localstack.Resolve(ctx, localstack.ResolveOptions{Dir: i.options.Dir, Log: zap.NewNop()})
	if err != nil {
		return err
	}
	i.PostgresURL, i.KafkaBrokers, i.PostgresOrigin, i.KafkaOrigin = stack.PostgresURL, stack.KafkaBrokers, stack.PostgresOrigin, stack.KafkaOrigin
	i.stops = append(i.stops, stack.Stop)
	return nil
}

func (i *Installation) ownServers(ctx context.Context) error {
	part := func(name string) string {
		if i.options.Dir == "" {
			return ""
		}
		return filepath.Join(i.options.Dir, name)
	}
	pg, err := localstack.StartPostgres(ctx, localstack.PostgresOptions{Dir: part("postgres"), Durable: true})
	if err != nil {
		return err
	}
	i.PostgresURL, i.PostgresOrigin = pg.URL(), localstack.FromNative
	i.stops = append(i.stops, pg.Stop)
	broker, err := localstack.StartEmbeddedKafka(ctx, part("embedded-kafka"), 0)
	if err != nil {
		return err
	}
	i.KafkaBrokers, i.KafkaOrigin = broker.Addr(), localstack.FromEmbedded
	i.stops = append(i.stops, func(context.Context) error { return broker.Stop() })
	return nil
}

// Lookup gives the settings under which the services run; commands take them too.
func (i *Installation) Lookup(name string) (string, bool) {
	all := map[string]string{"WAYBILL_POSTGRES_URL": i.PostgresURL, "WAYBILL_KAFKA_BROKERS": i.KafkaBrokers, "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0"}
	for _, settings := range []map[string]string{i.options.Settings, all} {
		if value, ok := settings[name]; ok {
			return value, true
		}
		// What is set here must not be set by a file too.
		if base, isFile := cutFile(name); isFile && settings[base] != "" {
			return "", false
		}
	}
	return i.options.Lookup(name)
}

func cutFile(name string) (string, bool) {
	const suffix = "_FILE"
	if len(name) > len(suffix) && name[len(name)-len(suffix):] == suffix {
		return name[:len(name)-len(suffix)], true
	}
	return name, false
}

func launch[C any](ctx context.Context, i *Installation, spec daemon.Spec[C]) error {
	p, err := daemon.Start(ctx, spec, i.Lookup, daemon.LogTo(i.options.Log))
	if err != nil {
		return fmt.Errorf("start %s: %w", spec.Name, err)
	}
	i.Services = append(i.Services, Service{Name: spec.Name, Process: p})
	return nil
}

func (i *Installation) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, s := range i.Services {
		select {
		case <-s.Ready():
		case <-s.Done():
			return fmt.Errorf("%s ended at its start: %w", s.Name, errors.Join(s.Wait(), errEnded))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready; http://%s/readyz said why: %w", s.Name, s.Address("admin"), ctx.Err())
		}
	}
	return nil
}

var errEnded = errors.New("see its log")

// Address is the bound address of a service's listener, "" if there is none.
func (i *Installation) Address(service, listener string) string {
	for _, s := range i.Services {
		if s.Name == service {
			return s.Address(listener)
		}
	}
	return ""
}

// Wait waits until ctx ends, nil, or a service ends by itself, an error.
func (i *Installation) Wait(ctx context.Context) error {
	ended := make(chan Service, len(i.Services))
	for _, s := range i.Services {
		go func() { // ends with the service: Stop ends it at the latest
			<-s.Done()
			ended <- s
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case s := <-ended:
		return fmt.Errorf("%s ended: %w", s.Name, errors.Join(s.Process.Wait(), errEnded))
	}
}

// Stop stops the services, one after the other, and then what else was started.
func (i *Installation) Stop() error {
	var errs []error
	for _, s := range i.Services {
		s.Process.Stop()
		if err := s.Process.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.Name, err))
		}
	}
	i.Services = nil
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	for n := len(i.stops) - 1; n >= 0; n-- {
		errs = append(errs, i.stops[n](ctx))
	}
	i.stops = nil
	return errors.Join(errs...)
}
