package telemetry_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zapcore"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type event struct {
	Message     string                    `json:"message"`
	Level       string                    `json:"level"`
	Fingerprint []string                  `json:"fingerprint"`
	Tags        map[string]string         `json:"tags"`
	Contexts    map[string]map[string]any `json:"contexts"`
	ServerName  string                    `json:"server_name"`
	Exception   []struct {
		Stacktrace struct {
			Frames []struct {
				Function string `json:"function"`
				Lineno   int    `json:"lineno"`
			} `json:"frames"`
		} `json:"stacktrace"`
	} `json:"exception"`
}

// receiver takes real envelopes: a header line, then items of a header line
// and a payload line.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	raw      bytes.Buffer
	events   []event
	checkIns []checkIn
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !strings.HasSuffix(req.URL.Path, "/envelope/") {
			t.Errorf("posted to %s", req.URL.Path)
		}
		r.take(t, req)
		fmt.Fprint(w, "{}")
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(t *testing.T, req *http.Request) {
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			t.Error(err)
			return
		}
		body = z
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := bufio.NewScanner(io.TeeReader(body, &r.raw))
	lines.Buffer(nil, 1<<20)
	lines.Scan() // the envelope's header
	for lines.Scan() {
		var header struct{ Type string }
		if err := json.Unmarshal(lines.Bytes(), &header); err != nil || !lines.Scan() {
			t.Errorf("item header %q: %v", lines.Text(), err)
			return
		}
		if header.Type == "check_in" {
			var c checkIn
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
				t.Error(err)
			}
			r.checkIns = append(r.checkIns, c)
			continue
		}
		if header.Type != "event" {
			t.Errorf("an item of type %q", header.Type)
			continue
		}
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Error(err)
		}
		r.events = append(r.events, e)
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
}

func (r *receiver) dsn() telemetry.Secret {
	return telemetry.NewSecret(strings.Replace(r.URL, "http://", "http://publickey@", 1) + "/42")
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func alertsTo(t *testing.T, r *receiver, log *buffer) *telemetry.Alerts {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	a, err := telemetry.NewAlerts(telemetry.AlertOptions{DSN: r.dsn(), Service: "processor", Release: "1.2.3", ServerName: "host-1",
		Transport: transport, Log: telemetry.NewLogger("processor", zapcore.InfoLevel, log)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func closeAlerts(t *testing.T, a *telemetry.Alerts) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := a.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestOneEventPerProblem(t *testing.T) {
	t.Parallel()
	r, log := newReceiver(t), &buffer{}
	a := alertsTo(t, r, log)
	var callers sync.WaitGroup
	for n := range 1000 {
		callers.Go(func() {
			for _, kind := range []telemetry.Kind{telemetry.KindDeadLetters, telemetry.KindRejected, telemetry.KindPartnerGaveUp} {
				a.Alert(telemetry.Problem{Kind: kind, Integration: "service-requests", Class: fault.System, Code: "http_500", Where: "crm",
					Message: fmt.Sprintf("record %d failed for jane.canary@example.com with password=canary1 at https://u:canary2@h/", n),
					Repair:  "waybill dead requeue --integration service-requests", Records: []string{fmt.Sprint("id-", n), "no id: canary3"}})
			}
		})
	}
	callers.Wait()
	for range 10 {
		func() {
			var err error
			defer func() {
				if fault.Of(err).Class != fault.Bug {
					t.Errorf("the panic became %v", err)
				}
			}()
			defer a.Recover("service-requests", "step map", &err)
			panic("canary4 of a payload")
		}()
	}
	closeAlerts(t, a)
	r.mu.Lock()
	defer r.mu.Unlock()
	perKind, total := map[string]int{}, map[string]float64{}
	for _, e := range r.events {
		perKind[e.Tags["kind"]]++
		count, _ := e.Contexts["waybill"]["count"].(float64)
		total[e.Tags["kind"]] += count
		if e.Contexts["waybill"]["repair"] == "" || e.Tags["service"] != "processor" || e.ServerName != "host-1" || len(e.Fingerprint) != 5 {
			t.Errorf("event: %+v", e)
		}
		if e.Tags["kind"] == "panic" {
			if len(e.Exception) != 1 || len(e.Exception[0].Stacktrace.Frames) < 3 || e.Exception[0].Stacktrace.Frames[0].Lineno == 0 {
				t.Errorf("the panic has no stack: %+v", e.Exception)
			}
		}
	}
	for kind, want := range map[string]float64{"dead_letters": 1000, "rejected": 1000, "partner_gave_up": 1000, "panic": 10} {
		if perKind[kind] < 1 || perKind[kind] > 3 || total[kind] != want {
			t.Errorf("%s: %d events for %v of %v occurrences", kind, perKind[kind], total[kind], want)
		}
	}
	for name, text := range map[string]string{"Sentry": r.raw.String(), "the log": log.String()} {
		if strings.Contains(text, "canary") {
			t.Errorf("a secret reached %s: %s", name, text)
		}
	}
	if !strings.Contains(log.String(), "waybill dead requeue --integration service-requests") {
		t.Error("the log does not name the repair")
	}
}

func lines(b *buffer, needle string) int { return strings.Count(b.String(), needle) }

func TestCountedProblemsAreSentLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &buffer{}
		a, err := telemetry.NewAlerts(telemetry.AlertOptions{Log: telemetry.NewLogger("x", zapcore.InfoLevel, log)}) // no DSN: the log only
		if err != nil {
			t.Fatal(err)
		}
		raise := func() {
			a.Alert(telemetry.Problem{Kind: telemetry.KindRejected, Code: "a", Repair: "waybill dead list"})
		}
		for range 50 {
			raise()
		}
		if n := lines(log, `"problem"`); n != 1 {
			t.Errorf("%d lines at once", n)
		}
		time.Sleep(12 * time.Minute) // virtual
		if !strings.Contains(log.String(), `"count":49`) || lines(log, `"problem"`) != 2 {
			t.Errorf("after ten minutes: %s", log)
		}
		time.Sleep(time.Hour)
		if n := lines(log, `"problem"`); n != 2 {
			t.Errorf("%d lines although nothing happened", n)
		}
		raise()
		raise()
		closeAlerts(t, a)
		closeAlerts(t, a)
		if n := lines(log, `"problem"`); n != 4 {
			t.Errorf("%d lines at the end", n)
		}
	})
}

func TestManyProblemsAreBounded(t *testing.T) {
	t.Parallel()
	log := &buffer{}
	a, err := telemetry.NewAlerts(telemetry.AlertOptions{Log: telemetry.NewLogger("x", zapcore.InfoLevel, log)})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5000 {
		a.Alert(telemetry.Problem{Kind: telemetry.KindRejected, Code: fmt.Sprint("code_", n)})
	}
	closeAlerts(t, a)
	if n := lines(log, `"problem"`); n > 103 || !strings.Contains(log.String(), "too_many_problems") {
		t.Errorf("%d lines", n)
	}
}

func TestAlertsOptions(t *testing.T) {
	t.Parallel()
	_, err := telemetry.NewAlerts(telemetry.AlertOptions{DSN: telemetry.NewSecret("https://canary@")})
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
	var none *telemetry.Alerts
	none.Alert(telemetry.Problem{})
	if err := none.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
