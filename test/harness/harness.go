// Package harness runs Waybill as its users do: three binaries as processes of
// their own against a real Postgres and a real Kafka, with a partner and a third
// party played by the test. It imports no product code but localstack.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"waybill.internal/pkg/localstack"
)

// Binaries are built once per test process and set of tags.
var binaries sync.Map // tags -> func() (string, error)

// Build builds the binaries with these build tags and returns their folder.
// WAYBILL_BIN names a folder to use instead when no tags are asked for.
func Build(tags string) (string, error) {
	if dir := os.Getenv("WAYBILL_BIN"); dir != "" && tags == "" {
		return dir, nil
	}
	once, _ := binaries.LoadOrStore(tags, sync.OnceValues(func() (string, error) { return build(tags) }))
	return once.(func() (string, error))()
}

// Clean removes what Build has built. The last thing a process does: nothing may be
// started after it.
func Clean() {
	binaries.Range(func(_, once any) bool {
		if dir, err := once.(func() (string, error))(); err == nil {
			_ = os.RemoveAll(dir) // in a temporary folder: the system clears it if this fails
		}
		return true
	})
}

// Main runs the tests of a package that starts binaries, and ends the process.
func Main(m *testing.M) {
	status := m.Run()
	Clean()
	os.Exit(status)
}

func build(tags string) (string, error) {
	dir, err := os.MkdirTemp("", "waybill-bin-")
	if err != nil {
		return "", err
	}
	for _, name := range []string{"ingest", "processor", "acknowledger", "waybill"} {
		args := []string{"build", "-o", filepath.Join(dir, name)}
		if tags != "" {
			args = append(args, "-tags", tags)
		}
		command := exec.Command("go", append(args, "./services/"+name+"/cmd/"+name)...)
		command.Dir = Root()
		if out, err := command.CombinedOutput(); err != nil {
			_ = os.RemoveAll(dir) // as above
			return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return dir, nil
}

// Root is the repository's folder.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Options of a Stack. Zero values take the defaults given.
type Options struct {
	Postgres string // URL whose search path is the test's own
	Kafka    string // brokers
	Prefix   string // of topics and groups
	Tags     string // build tags of the binaries
	// Integration is the YAML of the integration; DefaultIntegration if empty.
	Integration string
	Env         map[string]string // more variables for every binary
	Dir         string            // working folder; made and removed if empty
}

// Stack is a running Waybill with its partner and third party.
type Stack struct {
	Options
	ThirdParty *ThirdParty
	Partner    *Partner
	Pool       *pgxpool.Pool
	Bin        string

	mu      sync.Mutex
	procs   []*Proc
	ports   map[string]string
	release []func() // of the ports
}

// Secret signs what the partner posts.
const Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="

// ReceiptKey reads receipts.
const ReceiptKey = "brand-receipt-key-0123456789"

// New prepares a stack: binaries, tables, parties. Nothing of Waybill runs yet.
func New(ctx context.Context, o Options) (*Stack, error) {
	if o.Integration == "" {
		o.Integration = DefaultIntegration
	}
	s := &Stack{Options: o, ports: map[string]string{}}
	var err error
	if s.Bin, err = Build(o.Tags); err != nil {
		return nil, err
	}
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp("", "waybill-test-"); err != nil {
			return nil, err
		}
	}
	folder := filepath.Join(s.Dir, "integrations")
	if err = os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	if err = os.WriteFile(filepath.Join(folder, "service-requests.yaml"), []byte(o.Integration), 0o644); err != nil {
		return nil, err
	}
	if s.ThirdParty, err = NewThirdParty(); err != nil {
		return nil, err
	}
	if s.Partner, err = NewPartner(); err != nil {
		return nil, err
	}
	for _, name := range []string{"ingest.http", "ingest.admin", "processor.admin", "acknowledger.admin"} {
		address, release, err := localstack.ReservePort()
		if err != nil {
			return nil, err
		}
		s.ports[name], s.release = address, append(s.release, release)
	}
	if s.Pool, err = pgxpool.New(ctx, o.Postgres); err != nil {
		return nil, err
	}
	return s, s.prepare(ctx)
}

func (s *Stack) prepare(ctx context.Context) error {
	if out, err := s.Waybill(ctx, "migrate"); err != nil {
		return fmt.Errorf("waybill migrate: %w\n%s", err, out)
	}
	_, err := s.Pool.Exec(ctx, `
		CREATE TABLE IF NOT EXISTS product_keys (client_key text PRIMARY KEY, platform_key text NOT NULL);
		CREATE TABLE IF NOT EXISTS service_requests (request_no text PRIMARY KEY, product_key text, crm_id text, written integer NOT NULL DEFAULT 1);
		INSERT INTO product_keys SELECT 'P-' || i, 'platform-' || i FROM generate_series(0, 99) AS i ON CONFLICT DO NOTHING;
		CREATE OR REPLACE FUNCTION count_writes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.written := OLD.written + 1; RETURN NEW; END $$;
		CREATE OR REPLACE TRIGGER count_writes BEFORE UPDATE ON service_requests FOR EACH ROW EXECUTE FUNCTION count_writes();`)
	return err
}

// Close ends every process by its id and the parties.
func (s *Stack) Close() {
	s.mu.Lock()
	procs := s.procs
	s.mu.Unlock()
	for _, p := range procs {
		p.Kill()
	}
	s.ThirdParty.Close()
	s.Partner.Close()
	s.Pool.Close()
	for _, release := range s.release {
		release()
	}
	os.RemoveAll(s.Dir)
}

func (s *Stack) env(service string) []string {
	vars := map[string]string{
		"PATH": os.Getenv("PATH"), "HOME": os.Getenv("HOME"), "TMPDIR": os.TempDir(),
		"WAYBILL_POSTGRES_URL": s.Postgres, "WAYBILL_KAFKA_BROKERS": s.Kafka, "WAYBILL_KAFKA_PREFIX": s.Prefix,
		"WAYBILL_INTEGRATIONS": filepath.Join(s.Dir, "integrations"), "WAYBILL_LOG_LEVEL": "info",
		"WAYBILL_INGEST_ADDRESS": s.ports["ingest.http"], "WAYBILL_ADMIN_ADDRESS": "127.0.0.1:0",
		"BRAND_SECRET": Secret, "BRAND_KEY": ReceiptKey, "CRM_URL": s.ThirdParty.URL, "PARTNER_URL": s.Partner.URL + "/status",
	}
	if port := s.ports[service+".admin"]; port != "" {
		vars["WAYBILL_ADMIN_ADDRESS"] = port
	}
	for k, v := range s.Env {
		vars[k] = v
	}
	list := make([]string, 0, len(vars))
	for k, v := range vars {
		list = append(list, k+"="+v)
	}
	return list
}

// Waybill runs the command `waybill` and returns what it printed.
func (s *Stack) Waybill(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, filepath.Join(s.Bin, "waybill"), args...)
	command.Env, command.Dir = s.env(""), s.Dir
	out, err := command.CombinedOutput()
	return string(out), err
}

// Proc is one process of the stack.
type Proc struct {
	Service string
	cmd     *exec.Cmd
	log     *tail
	done    chan struct{}
	err     error
}

// Start starts one of ingest, processor, acknowledger. Several of a kind may
// run; only the first of ingest has the stack's address.
func (s *Stack) Start(service string, more ...string) (*Proc, error) {
	p := &Proc{Service: service, cmd: exec.Command(filepath.Join(s.Bin, service)), log: &tail{}, done: make(chan struct{})}
	p.cmd.Env, p.cmd.Dir = append(s.env(service), more...), s.Dir
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	s.mu.Lock()
	s.procs = append(s.procs, p)
	s.mu.Unlock()
	return p, nil
}

// PID of the process.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Log is the end of what the process printed.
func (p *Proc) Log() string { return p.log.String() }

// Signal sends a signal to the process, by its id.
func (p *Proc) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill is kill -9, and returns when the process is gone.
func (p *Proc) Kill() {
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop is SIGTERM; it returns the exit error once the process has ended.
func (p *Proc) Stop(within time.Duration) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		return fmt.Errorf("%s did not stop within %s\n%s", p.Service, within, p.Log())
	}
}

// Done is closed when the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// RSS is the resident memory in bytes, 0 if it cannot be read.
func (p *Proc) RSS() int64 {
	size, _ := memory(p.PID(), "VmRSS")
	return size
}

const tailBytes = 256 << 10

// tail keeps the end of a process' output.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if extra := t.buf.Len() - tailBytes; extra > tailBytes {
		t.buf.Next(extra)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// IngestURL is where the partner posts.
func (s *Stack) IngestURL() string { return "http://" + s.ports["ingest.http"] }

// AdminURL is a service's admin listener.
func (s *Stack) AdminURL(service string) string { return "http://" + s.ports[service+".admin"] }

// AwaitReady polls /readyz until it is 200.
func (s *Stack) AwaitReady(ctx context.Context, services ...string) error {
	for _, service := range services {
		last := "no answer"
		err := Poll(ctx, func() (bool, error) {
			resp, err := http.Get(s.AdminURL(service) + "/readyz")
			if err != nil {
				return false, s.ended(service)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			last = string(body)
			return resp.StatusCode == http.StatusOK, nil
		})
		if err != nil {
			return fmt.Errorf("%s is not ready: %w; %s", service, err, last)
		}
	}
	return nil
}

// ended is an error once no process of the service is left.
func (s *Stack) ended(service string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last *Proc
	for _, p := range s.procs {
		if p.Service != service {
			continue
		}
		select {
		case <-p.done:
			last = p
		default:
			return nil
		}
	}
	if last == nil {
		return nil
	}
	return fmt.Errorf("%s has ended: %v\n%s", service, last.err, last.Log())
}

// StartAll starts the three services and waits until they are ready.
func (s *Stack) StartAll(ctx context.Context) (ingest, processor, acknowledger *Proc, err error) {
	for _, p := range []struct {
		name string
		proc **Proc
	}{{"ingest", &ingest}, {"processor", &processor}, {"acknowledger", &acknowledger}} {
		if *p.proc, err = s.Start(p.name); err != nil {
			return ingest, processor, acknowledger, err
		}
	}
	return ingest, processor, acknowledger, s.AwaitReady(ctx, "ingest", "processor", "acknowledger")
}

// Poll asks until it is true, an error comes, or ctx ends.
func Poll(ctx context.Context, ask func() (bool, error)) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := ask()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// LogOnFailure prints the end of every process' log if the test failed.
func (s *Stack) LogOnFailure(t testing.TB) {
	if !t.Failed() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.procs {
		text := p.Log()
		t.Logf("--- %s (%d)\n%s", p.Service, p.PID(), text[max(0, len(text)-6000):])
	}
}
