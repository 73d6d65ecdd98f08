package telemetry_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/telemetry"
)

func TestCheckIns(t *testing.T) {
	t.Parallel()
	r, log := newReceiver(t), &buffer{}
	a := alertsTo(t, r, log)
	run := time.Date(2026, 3, 1, 5, 30, 0, 0, time.UTC)
	nightly := telemetry.CheckIn{Monitor: "waybill-Shop.orders-file", Crontab: "30 6 * * *", Timezone: "Europe/Berlin", Run: run, State: telemetry.RunBegun}
	a.CheckIn(nightly)
	nightly.State = telemetry.RunDone
	a.CheckIn(nightly)
	nightly.Run, nightly.State = run.AddDate(0, 0, 1), telemetry.RunFailed
	a.CheckIn(nightly)
	a.CheckIn(telemetry.CheckIn{Monitor: "waybill-" + strings.Repeat("long", 20), Every: 10 * time.Minute, Run: run, State: telemetry.RunDone})
	a.CheckIn(telemetry.CheckIn{Monitor: "seconds", Every: 10 * time.Second, Run: run, State: telemetry.RunDone})
	a.CheckIn(telemetry.CheckIn{Monitor: "none", Run: run, State: telemetry.RunDone})
	closeAlerts(t, a)

	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.checkIns) != 4 {
		t.Fatalf("%d check-ins, want 4: %+v", len(r.checkIns), r.checkIns)
	}
	begun, done, failed, every := r.checkIns[0], r.checkIns[1], r.checkIns[2], r.checkIns[3]
	if begun.ID == "" || begun.ID != done.ID || begun.ID == failed.ID {
		t.Errorf("ids of one run and of the next: %s %s %s", begun.ID, done.ID, failed.ID)
	}
	for i, want := range []string{"in_progress", "ok", "error"} {
		c := r.checkIns[i]
		if c.Slug != "waybill-shop-orders-file" || c.Status != want || c.Config.Schedule.Type != "crontab" || string(c.Config.Schedule.Value) != `"30 6 * * *"` || c.Config.Timezone != "Europe/Berlin" {
			t.Errorf("check-in %d: %+v", i, c)
		}
	}
	if len(every.Slug) != 50 || every.Config.Schedule.Type != "interval" || string(every.Config.Schedule.Value) != "10" || every.Config.Schedule.Unit != "minute" || every.Config.Timezone != "UTC" {
		t.Errorf("every 10 minutes: %+v", every)
	}
}

func TestResolved(t *testing.T) {
	t.Parallel()
	r, log := newReceiver(t), &buffer{}
	a := alertsTo(t, r, log)
	p := telemetry.Problem{Kind: telemetry.KindSilence, Integration: "shop", Code: "nothing_came", Where: "file", Message: "nothing came"}
	a.Alert(p)
	p.Message = "it speaks again"
	a.Resolved(p)
	p.Message = "nothing came once more"
	a.Alert(p) // another trouble: not held back as a repetition
	var none *telemetry.Alerts
	none.Resolved(p)
	none.CheckIn(telemetry.CheckIn{})
	closeAlerts(t, a)

	r.mu.Lock()
	defer r.mu.Unlock()
	var got []string
	for _, e := range r.events {
		got = append(got, e.Level+" "+e.Message)
		if strings.Join(e.Fingerprint, "/") != "silence/shop//nothing_came/file" {
			t.Errorf("fingerprint %q", e.Fingerprint)
		}
	}
	want := []string{"error silence · shop · file · nothing_came: nothing came", "info resolved: silence · shop · file · nothing_came: it speaks again",
		"error silence · shop · file · nothing_came: nothing came once more"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if n := strings.Count(log.String(), `"problem resolved"`); n != 1 {
		t.Errorf("%d resolutions in the log, want 1", n)
	}
}

// checkIn is one as Sentry gets it.
type checkIn struct {
	ID     string `json:"check_in_id"`
	Slug   string `json:"monitor_slug"`
	Status string `json:"status"`
	Config struct {
		Schedule struct {
			Type  string          `json:"type"`
			Value json.RawMessage `json:"value"`
			Unit  string          `json:"unit"`
		} `json:"schedule"`
		Timezone string `json:"timezone"`
	} `json:"monitor_config"`
}
