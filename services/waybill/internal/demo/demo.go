package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/ledger"
	"waybill.internal/services/waybill/internal/console"
	"waybill.internal/services/waybill/internal/example"
	"waybill.internal/services/waybill/internal/installation"
	"waybill.internal/services/waybill/internal/simulated"
)

const (
	// MaxRecords bounds one demo.
	MaxRecords = 1_000_000

	seed        = 2026
	connections = 64
	outage      = 10 * time.Second
	// patience bounds each wait for the installation to come to rest.
	patience = 4 * time.Minute
	look     = 500 * time.Millisecond
)

// Options of a demo.
type Options struct {
	Records     int
	CSV         int    // rows of the dropped file; 0 drops none
	Integration string // the shipped file
	Terminal    bool
	Out         io.Writer
	Lookup      daemon.Lookup
	Now         func() time.Time
	// Command runs one waybill command line, as if it were typed, with these settings.
	Command func(ctx context.Context, lookup daemon.Lookup, args ...string) int
	// Name is how the command is typed here.
	Name string
}

// Demo is a running one.
type Demo struct {
	Options
	dir     string
	key     string
	world   *example.World
	running *installation.Installation
	ledger  *ledger.Ledger
	log     *os.File
	screen  *console.Progress
	began   time.Time

	sent chan sending // one, when everything was sent
	last ledger.Count // of the last look
	report
}

type sending struct {
	report simulated.Report
	err    error
}

// report is what was counted outside the ledger.
type report struct {
	sender simulated.Report
	csv    simulated.CSVReport
}

// Start starts the parties and the installation.
func Start(ctx context.Context, o Options) (*Demo, error) {
	d := &Demo{Options: o, screen: console.NewProgress(o.Out, o.Terminal, o.Now), began: o.Now(), sent: make(chan sending, 1), key: newKey()}
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

func (d *Demo) start(ctx context.Context) (err error) {
	d.say("starting a Postgres, a Kafka (a test broker in this process) and the three services …")
	if d.dir, err = os.MkdirTemp("", "waybill-demo-"); err != nil {
		return fmt.Errorf("make the demo's folder: %w", err)
	}
	for _, name := range []string{"integrations", "drop"} {
		if err := os.Mkdir(filepath.Join(d.dir, name), 0o700); err != nil {
			return fmt.Errorf("make the demo's folders: %w", err)
		}
	}
	if d.world, err = example.StartWorld(ctx, seed, d.key, d.misbehaviour(), badPartner()); err != nil {
		return err
	}
	p := parties{crm: d.world.CRM, status: d.world.Status}
	if d.CSV > 0 {
		p.drop = filepath.Join(d.dir, "drop")
	}
	if err := generate(d.Integration, filepath.Join(d.dir, "integrations"), p); err != nil {
		return err
	}
	// Sources look when they start and then once a minute: the file is there first.
	if err := d.dropFile(); err != nil {
		return err
	}
	log, err := os.OpenFile(d.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make the log: %w", err)
	}
	d.log = log
	d.running, err = installation.Start(ctx, installation.Options{Own: true, Lookup: d.Lookup, Log: log, Prepare: example.Tables, Settings: d.settings()})
	if err != nil {
		return fmt.Errorf("%w; the log is %s", err, d.logFile())
	}
	d.ledger, err = ledger.Open(ctx, d.running.PostgresURL, ledger.Options{Terms: func(string) ledger.Terms { return ledger.Terms{} }, MaxConns: 2, Name: "waybill-demo"})
	if err != nil {
		return err
	}
	d.say("up. Ingest takes requests at http://%s%s; the log is %s", d.running.Address("ingest", "http"), example.Path, d.logFile())
	return nil
}

func (d *Demo) logFile() string { return filepath.Join(d.dir, "waybill.log") }

func (d *Demo) settings() map[string]string {
	return map[string]string{
		"WAYBILL_INTEGRATIONS":         filepath.Join(d.dir, "integrations"),
		"WAYBILL_INGEST_ADDRESS":       "127.0.0.1:0",
		"WAYBILL_INGEST_MEMORY":        "1GiB", // one process: the limit is for all three services
		"WAYBILL_KAFKA_PREFIX":         "demo",
		"WAYBILL_KAFKA_REPLICATION":    "1",
		"WAYBILL_KAFKA_MIN_INSYNC":     "1",
		"WAYBILL_KAFKA_PARTITIONS":     "3",
		"WAYBILL_KAFKA_TLS":            "false",
		"WAYBILL_KAFKA_SASL":           "none",
		"WAYBILL_SENTRY_DSN":           "",
		"WAYBILL_ENVIRONMENT":          "demo",
		"WAYBILL_PROCESSOR_LANES":      "",
		"BRAND_SECRET":                 d.key,
		"BRAND_SECRET_OLD":             d.key,
		"CRM_TOKEN":                    "demo-token",
		"WAYBILL_PROCESSOR_REDRIVE":    "true",
		"WAYBILL_DRAIN_DELAY":          "0s",
		"WAYBILL_POSTGRES_CONNECTIONS": "8",
	}
}

// Stop ends everything and deletes what the demo wrote.
func (d *Demo) Stop() error {
	var errs []error
	if d.ledger != nil {
		d.ledger.Close()
	}
	if d.running != nil {
		errs = append(errs, d.running.Stop())
	}
	if d.world != nil {
		errs = append(errs, d.world.Close())
	}
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// Wait waits until ctx ends or a service does.
func (d *Demo) Wait(ctx context.Context) error { return d.running.Wait(ctx) }

func (d *Demo) say(format string, args ...any) {
	d.screen.Say("[%5.1fs] "+format, append([]any{d.Now().Sub(d.began).Seconds()}, args...)...)
}
