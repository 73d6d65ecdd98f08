// Command schemathesis runs ingest on a Postgres and an embedded Kafka of its own
// and lets Schemathesis, a property-based client, hold it against its OpenAPI
// document: as a partner that reads, as one that sends, and as somebody who sends forms. It
// installs Schemathesis once, by pip, in a virtual environment under the cache
// folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/localstack"
	"waybill.internal/services/ingest"
)

const (
	version = "4.32.5"
	key     = "schemathesis-key"
	// installing may need the package registry.
	installTimeout = 10 * time.Minute
)

const integrations = `integration: shop
sources:
  - name: keyed
    webhook: {path: /in/keyed, verify: {scheme: api-key, secrets: ["${KEY}"]}, max_body: 2MiB}
    idempotency_key: string(body.id)
  - name: form
    webhook: {path: /in/form, verify: {scheme: none}, form: {rate: 1000000/m}}
`

// round is one run of the client.
type round struct{ name, source, paths, unchecked string }

// rounds: one path stands for all sources, so that not every source has what the
// document says of it (GET is Meta's), and a body that is JSON need not be a record
// of this integration: that such a one is refused is right.
func rounds() []round {
	const other = "positive_data_acceptance,negative_data_rejection,allow_header_conformance"
	return []round{{"reading", "keyed", "^/(v1/|openapi)", ""}, {"events", "keyed", "^/in/", other}, {"forms", "form", "^/in/", other}}
}

func main() {
	seconds := flag.Int("seconds", 60, "how long each of the three rounds may take")
	seed := flag.Int("seed", 0, "of the client's choices; 0: a new one each time")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *seconds, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "schemathesis:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, seconds, seed int) (err error) {
	client, err := install(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "waybill-schemathesis-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	url, stop, err := serve(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	var failed []error
	for _, r := range rounds() {
		config := filepath.Join(dir, r.name+".toml")
		if err := os.WriteFile(config, fmt.Appendf(nil, "[parameters]\n\"path.source\" = %q\n\"query.cursor\" = %q\n", r.source, ledger.Place{}), 0o600); err != nil {
			return err
		}
		args := []string{"--config-file", config, "run", url + "/openapi.json", "--max-time", strconv.Itoa(seconds), "--rate-limit", "auto",
			"--include-path-regex", r.paths, "--checks", "all", "--generation-database", "none"}
		if r.unchecked != "" {
			args = append(args, "--exclude-checks", r.unchecked)
		}
		if r.source == "keyed" {
			args = append(args, "--header", "Authorization: Bearer "+key)
		}
		if seed != 0 {
			args = append(args, "--seed", strconv.Itoa(seed))
		}
		fmt.Println("== round", r.name)
		cmd := exec.CommandContext(ctx, client, args...) //nolint:gosec // what install has made
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			failed = append(failed, fmt.Errorf("the round %s: the answers do not keep to the document: %w", r.name, err))
		}
	}
	return errors.Join(failed...)
}

// serve starts ingest and all that it needs.
func serve(ctx context.Context, dir string) (url string, stop func() error, err error) {
	var started []func() error
	stop = func() error {
		var errs []error
		for i := len(started) - 1; i >= 0; i-- {
			errs = append(errs, started[i]())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	postgres, err := localstack.StartPostgres(ctx, localstack.PostgresOptions{})
	if err != nil {
		return "", nil, err
	}
	started = append(started, func() error { return postgres.Stop(context.WithoutCancel(ctx)) })
	kafka, err := localstack.StartEmbeddedKafka(ctx, "", 0)
	if err != nil {
		return "", nil, err
	}
	started = append(started, kafka.Stop)
	if _, err := ledger.Migrate(ctx, postgres.URL()); err != nil {
		return "", nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(integrations), 0o600); err != nil {
		return "", nil, err
	}
	vars := map[string]string{"WAYBILL_POSTGRES_URL": postgres.URL(), "WAYBILL_KAFKA_BROKERS": kafka.Addr(), "WAYBILL_KAFKA_PREFIX": "schemathesis",
		"WAYBILL_INTEGRATIONS": dir, "WAYBILL_INGEST_DROP": dir, "WAYBILL_INGEST_ADDRESS": "127.0.0.1:0", "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0", "KEY": key}
	process, err := daemon.Start(ctx, ingest.Spec(), func(name string) (string, bool) { v, ok := vars[name]; return v, ok }, daemon.LogTo(io.Discard))
	if err != nil {
		return "", nil, err
	}
	started = append(started, func() error { process.Stop(); return process.Wait() })
	return "http://" + process.Address("http"), stop, nil
}

// install gives the client's path; it is made once for each version.
func install(ctx context.Context) (string, error) {
	cache := os.Getenv("WAYBILL_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache folder: %w; set WAYBILL_CACHE", err)
		}
		cache = filepath.Join(base, "waybill")
	}
	dir := filepath.Join(cache, "schemathesis-"+version)
	client, complete := filepath.Join(dir, "bin", "schemathesis"), filepath.Join(dir, "complete")
	if _, err := os.Stat(complete); err == nil {
		return client, nil
	}
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	fmt.Println("installing Schemathesis", version, "in", dir)
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", dir},
		{filepath.Join(dir, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "schemathesis==" + version},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the commands above
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("%v: %w; Python 3.10 or newer with the module venv is needed (apt install python3-venv), and the registry of pip", args, err)
		}
	}
	return client, os.WriteFile(complete, nil, 0o600)
}
