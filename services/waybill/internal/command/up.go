package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"waybill.internal/pkg/localstack"
	"waybill.internal/services/waybill/internal/example"
	"waybill.internal/services/waybill/internal/installation"
	"waybill.internal/services/waybill/internal/simulated"
)

type upCommand struct {
	Data         string `default:"./var" help:"Where data, log and development secrets are kept."`
	Integrations string `help:"The folder of the integration files; the default is WAYBILL_INTEGRATIONS, or deploy/integrations."`
	Listen       string `default:"127.0.0.1:8080" help:"Where partners post; port 0 takes a free one."`
	WithExample  bool   `help:"Also make the tables of the service-request example and run its CRM and partner."`
}

func (upCommand) Help() string {
	return `Runs ingest, processor and acknowledger in one process. Postgres and Kafka come from WAYBILL_POSTGRES_URL and
WAYBILL_KAFKA_BROKERS, else from Docker, else a Postgres is started here and a test broker runs inside the process.
Secrets that the integrations name and nobody set are made up and kept under --data/secrets.

Examples:
  waybill up --with-example
  WAYBILL_POSTGRES_URL=postgres://waybill:secret@db/waybill waybill up --listen :8080`
}

func (c upCommand) Run(in *invocation) (err error) {
	data, err := filepath.Abs(c.Data)
	if err != nil {
		return usage("--data: %w", err)
	}
	if err := os.MkdirAll(data, 0o755); err != nil {
		return usage("--data: %w", err)
	}
	logFile := filepath.Join(data, "waybill.log")
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return usage("the log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	secrets := newDevSecrets(filepath.Join(data, "secrets"), in.Lookup)
	dir, _ := in.Lookup("WAYBILL_INTEGRATIONS")
	settings := map[string]string{
		"WAYBILL_INTEGRATIONS":   cmp.Or(c.Integrations, dir, "deploy/integrations"),
		"WAYBILL_INGEST_ADDRESS": c.Listen,
		// One process: the Go runtime's limit is for all three services.
		"WAYBILL_INGEST_MEMORY": "1GiB",
	}
	o := installation.Options{Dir: data, Settings: settings, Lookup: secrets.lookup, Log: log}
	if c.WithExample {
		world, err := c.example(in, secrets, settings)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, world.Close()) }()
		o.Prepare = example.Tables
	}
	if !in.json {
		fmt.Fprintf(in.Stdout, "starting; the log is %s\n", logFile)
	}
	running, err := installation.Start(in.ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Stop()) }()
	if err := in.print(upView(running), func(w io.Writer) { writeUp(w, running, secrets) }); err != nil {
		return err
	}
	return running.Wait(in.ctx)
}

// example starts the CRM and the partner of the shipped integration.
func (c upCommand) example(in *invocation, secrets *devSecrets, settings map[string]string) (*example.World, error) {
	key, err := secrets.value("BRAND_SECRET")
	if err != nil {
		return nil, err
	}
	world, err := example.StartWorld(in.ctx, 1, key, simulated.Script{}, simulated.PartnerScript{})
	if err != nil {
		return nil, err
	}
	settings["CRM_URL"], settings["PARTNER_URL"] = world.CRM, world.Status
	return world, nil
}

func upView(i *installation.Installation) map[string]any {
	admin := map[string]string{}
	for _, s := range i.Services {
		admin[s.Name] = "http://" + s.Address("admin")
	}
	return map[string]any{"ingest": "http://" + i.Address("ingest", "http"), "admin": admin, "postgres": i.PostgresURL, "kafka": i.KafkaBrokers}
}

func writeUp(w io.Writer, i *installation.Installation, secrets *devSecrets) {
	fmt.Fprintf(w, "\nup: partners post to http://%s\n\n", i.Address("ingest", "http"))
	fmt.Fprintf(w, "  postgres      %s (%s)\n", i.PostgresURL, i.PostgresOrigin)
	fmt.Fprintf(w, "  kafka         %s (%s%s)\n", i.KafkaBrokers, i.KafkaOrigin, map[bool]string{true: ": a test broker, not for production"}[i.KafkaOrigin == localstack.FromEmbedded])
	for _, s := range i.Services {
		fmt.Fprintf(w, "  %-12s  http://%s/metrics, /readyz\n", s.Name, s.Address("admin"))
	}
	for _, name := range secrets.made() {
		fmt.Fprintf(w, "  secret        %s, made up: %s\n", name, secrets.path(name))
	}
	fmt.Fprintf(w, "\nIn another terminal:\n\n  export WAYBILL_POSTGRES_URL='%s' WAYBILL_KAFKA_BROKERS=%s\n", i.PostgresURL, i.KafkaBrokers)
	for _, name := range secrets.made() {
		if name == "BRAND_SECRET" {
			fmt.Fprintf(w, "  waybill send --url http://%s%s --secret %s --count 10\n", i.Address("ingest", "http"), example.Path, secrets.path(name))
		}
	}
	fmt.Fprint(w, "  waybill tail -f\n  waybill audit\n  waybill doctor\n\nCtrl-C stops.\n")
}
