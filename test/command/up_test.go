package command_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"waybill.internal/pkg/record"
	"waybill.internal/test/world"
)

// upLimit bounds what is waited for; nothing is judged by time.
const upLimit = 90 * time.Second

// up is a running `waybill up --with-example`.
func up(d *desk) (ingest, secret string) {
	d.Helper()
	data, root := d.TempDir(), filepath.Join("..", "..")
	c := exec.Command(world.Binary(d, "waybill"), "up", "--json", "--with-example", "--listen", "127.0.0.1:0", "--data", data,
		"--integrations", filepath.Join("deploy", "integrations"))
	c.Dir, c.Env = root, append(d.env, "WAYBILL_INGEST_DROP="+data)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	d.must(err)
	d.must(c.Start())
	d.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM) // it may have ended: Wait says
		kill := time.AfterFunc(upLimit, func() { _ = c.Process.Kill() })
		defer kill.Stop()
		if err := c.Wait(); err != nil {
			log, _ := os.ReadFile(filepath.Join(data, "waybill.log"))
			d.Errorf("waybill up ended with %v; its log:\n%s", err, log)
		}
	})
	// The context of the test ends before its cleanups: reading ends with the process.
	kill := time.AfterFunc(upLimit, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(data, "waybill.log"))
		d.Fatalf("waybill up said nothing: %v; its log:\n%s", err, log)
	}
	var said struct{ Ingest, Kafka string }
	d.must(json.Unmarshal(line, &said))
	d.env = append(d.env, "WAYBILL_KAFKA_BROKERS="+said.Kafka)
	return said.Ingest, filepath.Join(data, "secrets", "BRAND_SECRET")
}

func TestUpTakesAWebhookToItsEnd(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	ingest, secret := up(d)
	file := filepath.Join(t.TempDir(), "request.json")
	d.must(os.WriteFile(file, []byte(`{"request_no":"SR-1","email":"A@brand.example","product":"washer-100","opened_at":"2026-01-01T10:00:00Z","quantity":1}`), 0o600))
	send := []string{"send", "--url", ingest + "/in/service-requests", "--secret", secret, "--id", "evt_1", file}
	out, _ := d.waybill(0, send...)
	says(t, out, "202 Accepted", "event evt_1", "queued")
	out, _ = d.waybill(0, send...)
	says(t, out, "200 OK", `"duplicate":true`)

	type receipt struct {
		State   record.State
		Outcome struct{ State record.OutcomeState }
	}
	deadline, tick := time.After(upLimit), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for r := (receipt{}); r.Outcome.State != record.Acknowledged; {
		select {
		case <-tick.C:
			r = document[receipt](d, 0, "receipt", "evt_1")
		case <-deadline:
			out, _ := d.waybill(0, "trace", "evt_1", "--payload")
			t.Fatalf("it is not acknowledged:\n%s", out)
		}
	}
	out, _ = d.waybill(0, "trace", "evt_1")
	says(t, out, "state        processed", "outcome 1 acknowledged", "call     POST http://127.0.0.1:", "step     platform_key → \"PK-washer-100\"")
	var email, crm string
	d.must(d.db.QueryRow(t.Context(), `SELECT email, crm_id FROM service_requests WHERE request_no = 'SR-1'`).Scan(&email, &crm))
	if email != "a@brand.example" || !strings.HasPrefix(crm, "crm-") {
		t.Errorf("written: %s, %s", email, crm)
	}
	out, _ = d.waybill(0, "doctor")
	says(t, out, "the embedded test broker", "ingest 1, processor 1, acknowledger 1", "topics                  all")
	d.env = append(d.env, "WAYBILL_ENVIRONMENT=production")
	out, _ = d.waybill(1, "doctor")
	says(t, out, "WAYBILL_ENVIRONMENT is production")
	out, errs := d.waybill(1, "send", "--url", ingest+"/in/nowhere", "--secret", secret, file)
	says(t, out+errs, "404", "1 of 1 file was not accepted")
	out, _ = d.waybill(0, "send", "--url", ingest+"/in/service-requests", "--secret", secret, "--count", "50", "--duplicates", "0.1", "--malformed", "0.1")
	says(t, out, "50 sent", "0 undecided", "waybill trace ")
}
