package compose

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill.internal/pkg/daemon"
	"waybill.internal/pkg/integration"
	"waybill.internal/services/acknowledger"
	"waybill.internal/services/ingest"
	"waybill.internal/services/processor"
	"waybill.internal/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const limit = time.Minute // of one run of a binary; nothing here takes a second

// variable is a line of --help; flag one of waybill's; named one of an integration file.
var (
	variableLine = regexp.MustCompile(`(?m)^  (WAYBILL_[A-Z_]+)  +(\S+)`)
	flagWord     = regexp.MustCompile(`--[a-z][a-z-]*`)
	named        = regexp.MustCompile(`\$\{([A-Z_]+)(:-[^}]*)?\}`)
)

// loader checks values with the very loader of a binary.
func loader[C any](spec daemon.Spec[C]) func(func(string) (string, bool)) error {
	return func(lookup func(string) (string, bool)) error {
		_, err := spec.Load(daemon.NewSettings(lookup))
		return err
	}
}

// theWorld asks the built binaries; once, because that takes a while.
var theWorld = sync.OnceValues(newWorld) //nolint:gochecknoglobals // shared by the tests of one process

func newWorld() (world, error) {
	bin, err := harness.Build("")
	if err != nil {
		return world{}, err
	}
	w := world{
		root: harness.Root(), settings: map[string]map[string]setting{}, shared: map[string]bool{}, integrations: map[string]bool{},
		load:  map[string]func(func(string) (string, bool)) error{"ingest": loader(ingest.Spec()), "processor": loader(processor.Spec()), "acknowledger": loader(acknowledger.Spec())},
		flags: func(words []string) (map[string]bool, error) { return flagsOf(filepath.Join(bin, "waybill"), words) },
	}
	if w.stages, err = stages(w.root); err != nil {
		return world{}, err
	}
	for name := range w.load {
		help, err := output(filepath.Join(bin, name), "--help")
		if err != nil {
			return world{}, err
		}
		w.settings[name] = map[string]setting{}
		for _, m := range variableLine.FindAllStringSubmatch(help, -1) {
			w.settings[name][m[1]] = setting{def: m[2]}
		}
	}
	for variable := range w.settings["ingest"] {
		_, p := w.settings["processor"][variable]
		_, a := w.settings["acknowledger"][variable]
		w.shared[variable] = p && a
	}
	return w, w.readIntegrations()
}

func (w *world) readIntegrations() error {
	files, err := filepath.Glob(filepath.Join(w.root, "deploy", "integrations", "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("deploy/integrations holds no integration (%w)", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			w.integrations[m[1]] = w.integrations[m[1]] || m[2] != ""
		}
	}
	return nil
}

func output(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func flagsOf(waybill string, words []string) (map[string]bool, error) {
	help, err := output(waybill, append(append([]string{}, words...), "--help")...)
	if err != nil {
		return nil, err
	}
	// The command line ignores words behind a --help: its answer must be about them.
	if want := "Usage: waybill " + strings.Join(words, " "); !strings.Contains(help, want) {
		return nil, fmt.Errorf("there is no such command; its help says %q", firstLine(help))
	}
	flags := map[string]bool{}
	for _, f := range flagWord.FindAllString(help, -1) {
		flags[f] = true
	}
	return flags, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func read(t *testing.T) (string, world) {
	t.Helper()
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text), w
}

func TestCompose(t *testing.T) {
	t.Parallel()
	text, w := read(t)
	f, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range check(f, w) {
		t.Error("docker-compose.yml:", p)
	}
	for _, binary := range []string{"ingest", "processor", "acknowledger"} {
		if f.Services[binary] == nil {
			t.Errorf("docker-compose.yml: the service %s is missing", binary)
		}
	}
}

// TestComposeMistakes shows that each kind of mistake is seen.
func TestComposeMistakes(t *testing.T) {
	t.Parallel()
	text, w := read(t)
	for title, c := range map[string]struct{ old, new, want string }{
		"unknown key":          {"    restart: unless-stopped", "    restarts: unless-stopped", `unknown field "restarts"`},
		"unknown variable":     {"WAYBILL_INGEST_ADDRESS:", "WAYBILL_INGEST_ADRESS:", "nothing there reads the variable WAYBILL_INGEST_ADRESS"},
		"variable of another":  {"WAYBILL_ADMIN_ADDRESS: 0.0.0.0:9081", "WAYBILL_INGEST_ADDRESS: 0.0.0.0:9081", "processor: nothing there reads the variable WAYBILL_INGEST_ADDRESS"},
		"unknown of Kafka":     {"KAFKA_LOG_DIRS", "KAFKA_LOGDIRS", "nothing there reads the variable KAFKA_LOGDIRS"},
		"integration variable": {"  CRM_TOKEN: for-trying-out\n", "", "an integration needs the variable CRM_TOKEN"},
		"wrong value":          {"WAYBILL_ADMIN_ADDRESS: 0.0.0.0:9081", "WAYBILL_PROCESSOR_IN_FLIGHT: many", "WAYBILL_PROCESSOR_IN_FLIGHT: the value cannot be used"},
		"unknown flag":         {`"--listen", "0.0.0.0:8099"`, `"--listens", "0.0.0.0:8099"`, "has no flag --listens"},
		"unknown command":      {`["simulate", "third-party"`, `["simulate", "fourth-party"`, "third-party: command"},
		"command of a daemon":  {"    ports:\n      - \"127.0.0.1:9081:9081\"", "    command: [\"run\"]", "takes no command"},
		"published port":       {"127.0.0.1:8080:8080", "127.0.0.1:8080:8081", "nothing in the container listens on port 8081"},
		"loopback inside":      {"WAYBILL_INGEST_ADDRESS: 0.0.0.0:8080", "WAYBILL_INGEST_ADDRESS: 127.0.0.1:8080", "nothing in the container listens on port 8080"},
		"open to the world":    {"127.0.0.1:8080:8080", "8080:8080", "is not 127.0.0.1:host:container"},
		"port taken":           {"127.0.0.1:9081:9081", "127.0.0.1:9080:9081", "publishes port 9080 too"},
		"wrong host":           {"kafka:9092\n  WAYBILL_INTEGRATIONS", "broker:9092\n  WAYBILL_INTEGRATIONS", "broker is no service"},
		"wrong port":           {"http://third-party:8099", "http://third-party:8098", "third-party does not listen on port 8098"},
		"wrong password":       {"POSTGRES_PASSWORD: waybill", "POSTGRES_PASSWORD: other", "WAYBILL_POSTGRES_URL is not what"},
		"missing file":         {"/compose/partner.json", "/compose/partners.json", "which no volume brings"},
		"missing mount":        {"./deploy/compose/tables.sql", "./deploy/tables.sql", "./deploy/tables.sql does not exist"},
		"unknown volume":       {"- drop:/waybill", "- drops:/waybill", "volume drops is not declared"},
		"unknown stage":        {"target: processor", "target: processors", `no stage "processors"`},
		"unknown image":        {"apache/kafka:4.3.1", "apache/kafka:4.3", "is not one that this test knows"},
		"no health check":      {"kafka: {condition: service_healthy}", "ingest: {condition: service_healthy}", "which has no health check"},
		"unknown condition":    {"kafka: {condition: service_healthy}", "kafka: {condition: healthy}", "is no condition"},
		"unknown dependency":   {"kafka: {condition: service_healthy}", "kafkas: {condition: service_healthy}", "kafkas, which is no service"},
		"no default":           {"${WAYBILL_SENTRY_DSN:-}", "${WAYBILL_SENTRY_DSN}", "needs a default"},
		"no time":              {"stop_grace_period: 30s", "stop_grace_period: thirty", `"thirty" is no time`},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(text, c.old) {
				t.Fatalf("docker-compose.yml does not hold %q any more", c.old)
			}
			var problems []string
			f, err := decode([]byte(strings.Replace(text, c.old, c.new, 1)))
			if err != nil {
				problems = []string{err.Error()}
			} else {
				problems = check(f, w)
			}
			if all := strings.Join(problems, "\n"); !strings.Contains(all, c.want) {
				t.Errorf("want a problem with %q, got:\n%s", c.want, all)
			}
		})
	}
}

// TestDefaultPorts holds what the image exposes against the binaries' defaults.
func TestDefaultPorts(t *testing.T) {
	t.Parallel()
	_, w := read(t)
	for binary, settings := range w.settings {
		want := map[string]bool{}
		for variable, s := range settings {
			if strings.HasSuffix(variable, "_ADDRESS") {
				want[s.def[strings.LastIndex(s.def, ":")+1:]] = true
			}
		}
		for _, port := range w.stages[binary].exposed {
			if !want[port] {
				t.Errorf("deploy/Dockerfile: %s exposes %s, which is no default of it", binary, port)
			}
			delete(want, port)
		}
		for port := range want {
			t.Errorf("deploy/Dockerfile: %s does not expose %s", binary, port)
		}
	}
}

// TestIntegrationsLoad reads the sample integrations with the variables of the file.
func TestIntegrationsLoad(t *testing.T) {
	t.Parallel()
	text, w := read(t)
	f, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	_, err = integration.LoadDir(filepath.Join(w.root, f.Settings["WAYBILL_INTEGRATIONS"]), func(name string) (string, bool) {
		value, found := f.Settings[name]
		return value, found
	})
	if err != nil {
		t.Error(err)
	}
	secret, err := os.ReadFile(filepath.Join(w.root, "deploy", "compose", "brand.secret"))
	if err != nil || strings.TrimSpace(string(secret)) != f.Settings["BRAND_SECRET"] {
		t.Errorf("deploy/compose/brand.secret is not BRAND_SECRET (%v): the partner would not believe our signatures", err)
	}
}

// TestPartiesStart runs the simulated parties' own commands, on free ports.
func TestPartiesStart(t *testing.T) {
	t.Parallel()
	text, w := read(t)
	bin, err := harness.Build("")
	if err != nil {
		t.Fatal(err)
	}
	f, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c := checker{file: f, world: w}
	for name, path := range map[string]string{"third-party": "/requests", "partner": "/status"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := f.Services[name]
			args := make([]string, len(s.Command))
			for i, a := range s.Command {
				switch {
				case i > 0 && s.Command[i-1] == "--listen":
					args[i] = "127.0.0.1:0"
				case filepath.IsAbs(a):
					args[i] = c.onHost(s, a)
				default:
					args[i] = a
				}
			}
			start(t, filepath.Join(bin, "waybill"), args, path)
		})
	}
}

// start runs a party until it says where it listens, and ends it as Compose does.
func start(t *testing.T, name string, args []string, path string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	command := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	command.Stderr = &stderr
	command.WaitDelay = limit
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(io.LimitReader(out, 64<<10)).ReadString('\n')
	if err := command.Process.Signal(os.Interrupt); err != nil && readErr == nil {
		t.Errorf("it left by itself: %v", err)
	}
	if err := command.Wait(); err != nil || readErr != nil || !strings.Contains(line, path) {
		t.Errorf("waybill %s printed %q and ended: %v %v\n%s", strings.Join(args, " "), line, readErr, err, &stderr)
	}
}
