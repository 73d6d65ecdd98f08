// Package backbone is what every binary of Waybill stands on: the ledger, its
// session, Kafka, and the integrations. It turns settings into these things
// and into the parts that keep them alive.
package backbone

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
	"waybill.internal/pkg/telemetry"
)

const (
	schemaPoll   = 500 * time.Millisecond
	drainTimeout = 10 * time.Second
	daysEvery    = time.Hour
	othersEvery  = 30 * time.Second
)

// Config is the settings that every binary shares.
type Config struct {
	Postgres     telemetry.Secret // URL; it holds a password
	MaxConns     int
	Integrations string // folder of integration files
	Kafka        stream.Config
}

// Load reads the shared settings.
func Load(s *daemon.Settings) Config {
	c := Config{
		Postgres:     s.Secret("WAYBILL_POSTGRES_URL", "the ledger: postgres://user:password@host:5432/waybill"),
		MaxConns:     s.Int("WAYBILL_POSTGRES_CONNECTIONS", 8, 2, 200, "connections to the ledger"),
		Integrations: s.String("WAYBILL_INTEGRATIONS", "deploy/integrations", "the folder of the integration files"),
		Kafka: stream.Config{
			Brokers:     s.List("WAYBILL_KAFKA_BROKERS", []string{"127.0.0.1:9092"}, "brokers to ask first, host:port,host:port"),
			Prefix:      s.String("WAYBILL_KAFKA_PREFIX", "waybill", "begins the name of every topic and group"),
			Replication: s.Int("WAYBILL_KAFKA_REPLICATION", 1, 1, 9, "replicas of topics made here; 3 in production"),
			MinInsync:   s.Int("WAYBILL_KAFKA_MIN_INSYNC", 1, 1, 9, "min.insync.replicas of topics made here; 2 in production"),
			Partitions:  s.Int("WAYBILL_KAFKA_PARTITIONS", 3, 1, 1000, "partitions of topics made here; as many as processors run at most"),
		},
	}
	s.Require("WAYBILL_POSTGRES_URL")
	c.Kafka.TLS = loadTLS(s)
	c.Kafka.SASL = loadSASL(s)
	return c
}

func loadTLS(s *daemon.Settings) *tls.Config {
	on := s.Bool("WAYBILL_KAFKA_TLS", false, "speak TLS to Kafka")
	file := s.String("WAYBILL_KAFKA_CA", "", "a PEM file of the authorities to trust instead of the system's")
	if !on {
		return nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return config
	}
	pem, err := os.ReadFile(file)
	config.RootCAs = x509.NewCertPool()
	if err != nil || !config.RootCAs.AppendCertsFromPEM(pem) {
		s.Problem("WAYBILL_KAFKA_CA", "no certificate could be read from the file", "give a PEM file with at least one CERTIFICATE block")
	}
	return config
}

func loadSASL(s *daemon.Settings) *stream.SASL {
	mechanism := s.OneOf("WAYBILL_KAFKA_SASL", "none", "how to prove to Kafka who we are", "none", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
	user := s.String("WAYBILL_KAFKA_USER", "", "user name for SASL")
	password := s.Secret("WAYBILL_KAFKA_PASSWORD", "password for SASL")
	if mechanism == "none" {
		return nil
	}
	if user == "" || !password.IsSet() {
		s.Problem("WAYBILL_KAFKA_SASL", "needs a user and a password", "set WAYBILL_KAFKA_USER and WAYBILL_KAFKA_PASSWORD")
	}
	return &stream.SASL{Mechanism: mechanism, User: user, Password: func() (string, error) { return password.Reveal(), nil }}
}

// Backbone is open until Parts' parts have stopped.
type Backbone struct {
	Ledger    *ledger.Ledger
	Sessions  *ledger.Sessions
	Catalog   *catalog.Catalog
	Kafka     *stream.Factory
	Producer  *stream.Producer
	Publisher *outbox.Publisher
	Topics    stream.Topics
	Lanes     []string

	log      *zap.Logger
	prepared atomic.Bool
}

// Open reads the integrations and makes the clients. It connects to nothing:
// the parts do, and are unready until they could.
func Open(ctx context.Context, env *daemon.Env, c Config) (*Backbone, error) {
	b := &Backbone{log: env.Log, Catalog: catalog.New(integration.Lookup(env.Lookup))}
	if err := b.Catalog.LoadDir(c.Integrations); err != nil {
		return nil, fmt.Errorf("integrations in %s: %w", c.Integrations, err)
	}
	var err error
	b.Lanes, c.Kafka.Delays = b.Catalog.Lanes()
	c.Kafka.ClientID = "waybill-" + env.Name
	if b.Kafka, err = stream.NewFactory(c.Kafka); err != nil {
		return nil, err
	}
	b.Topics = b.Kafka.Topics()
	b.Ledger, err = ledger.Open(ctx, c.Postgres.Reveal(), ledger.Options{Terms: b.Catalog.Terms, MaxConns: int32(c.MaxConns), Name: "waybill-" + env.Name})
	if err != nil {
		return nil, err
	}
	b.Sessions = ledger.NewSessions(b.Ledger, env.Name, env.Log)
	b.Producer = b.Kafka.NewProducer(stream.ProducerConfig{})
	b.Publisher, err = outbox.New(b.Ledger, b.Producer, c.Kafka.Prefix, env.Log, outbox.Broken(func(id record.ID, err error) {
		env.Alerts.Alert(telemetry.Problem{Kind: telemetry.KindPart, Code: "record_unencodable", Message: err.Error(), Records: []string{id.String()}, Repair: "waybill trace " + id.String()})
	}))
	return b, err
}

// Parts keep the backbone alive. They come first, and so stop last: publisher,
// then session, then the ledger's pool.
func (b *Backbone) Parts() []daemon.Part {
	return []daemon.Part{
		{Name: "ledger", Await: true, Run: b.keepLedger, Ready: b.ledgerReady},
		{Name: "session", Await: true, Run: b.Sessions.Run, Ready: b.Sessions.Ready},
		{Name: "topics", Run: b.makeTopics},
		{Name: "publisher", Run: b.keepPublisher, Stop: 2 * drainTimeout},
	}
}

// keepLedger waits for the schema, registers the integrations, and makes the
// coming days' partitions from time to time.
func (b *Backbone) keepLedger(ctx context.Context) error {
	defer b.Ledger.Close()
	for !b.prepared.Load() {
		err := b.prepare(ctx)
		if err == nil {
			b.prepared.Store(true)
			break
		}
		if ctx.Err() == nil {
			b.log.Warn("the ledger is not ready; it is asked again", zap.Error(err))
		}
		if clock.Sleep(ctx, schemaPoll) != nil {
			return nil
		}
	}
	for done := time.Now(); clock.Sleep(ctx, othersEvery) == nil; {
		if err := b.Catalog.LoadOthers(ctx, b.Ledger); err != nil && ctx.Err() == nil {
			b.log.Warn("the ledger's other integrations could not be read; it is tried again", zap.Error(err))
		}
		if time.Since(done) < daysEvery {
			continue
		}
		done = time.Now()
		if err := errors.Join(b.Ledger.EnsureDays(ctx), b.Ledger.DropSessions(ctx)); err != nil {
			b.log.Warn("the ledger's daily upkeep failed; it is tried again in an hour", zap.Error(err))
		}
	}
	return nil
}

func (b *Backbone) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := b.Ledger.Ready(ctx); err != nil {
		return err
	}
	if _, err := b.Ledger.InstallationKey(ctx); err != nil {
		return err
	}
	return errors.Join(b.Catalog.Register(ctx, b.Ledger), b.Catalog.LoadOthers(ctx, b.Ledger), b.Ledger.EnsureDays(ctx))
}

func (b *Backbone) ledgerReady() error {
	if !b.prepared.Load() {
		return errors.New("waiting for the ledger and its schema")
	}
	return nil
}

// makeTopics makes what is missing. Kafka being down is no reason to be
// unready: records are safe in the ledger, and producers and consumers make
// their topics themselves when it is back.
func (b *Backbone) makeTopics(ctx context.Context) error {
	if err := b.Kafka.Ensure(ctx, b.Topics.All(b.Lanes...)...); err != nil && ctx.Err() == nil {
		b.log.Warn("the topics could not be made; they are made when they are first used", zap.Error(err))
	}
	<-ctx.Done()
	return nil
}

func (b *Backbone) keepPublisher(ctx context.Context) error {
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	return errors.Join(b.Publisher.Close(stop), b.Producer.Close(stop))
}
