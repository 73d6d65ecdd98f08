package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"waybill.internal/test/harness"
)

const canary = "canary-7f3a-payload"

// TestSentry: one event per problem, not per record, with the command that repairs it and nothing of the payload.
func TestSentry(t *testing.T) {
	t.Parallel()
	sentry, err := harness.NewSentry()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sentry.Close)
	integration := strings.Replace(harness.DefaultIntegration, "attempts: 4", "attempts: 1", 1)
	integration = strings.Replace(integration, "give_up_after: 1h", "give_up_after: 2s", 1)
	s, ctx := start(t, harness.Options{Integration: integration, Env: map[string]string{"WAYBILL_SENTRY_DSN": sentry.DSN}})
	s.ThirdParty.Behave(func(requestNo string, _ int) harness.Behaviour {
		if strings.HasPrefix(requestNo, "dead") {
			return harness.Behaviour{Status: http.StatusInternalServerError, Body: canary}
		}
		return harness.Behaviour{}
	})
	s.Partner.Behave(nil, func(told harness.Told) bool { return strings.HasPrefix(told.IdempotencyKey, "unheard") })
	if _, _, _, err := s.StartAll(ctx); err != nil {
		t.Fatal(err)
	}
	var list []harness.Event
	for i := range 1000 {
		e := harness.NewEvent(fmt.Sprintf("dead-%d", i), fmt.Sprintf("dead-%d", i))
		e.Body = []byte(strings.Replace(string(e.Body), `{`, `{"note":"`+canary+`",`, 1))
		list = append(list, e)
	}
	for i := range 50 {
		list = append(list, harness.Event{ID: fmt.Sprintf("bad-%d", i), Body: []byte(`{"request_no":"x","product":"P-1","opened_at":"2026-01-02T10:00:00Z","closed_at":"2026-01-01T10:00:00Z"}`)})
		list = append(list, harness.NewEvent(fmt.Sprintf("unheard-%d", i), fmt.Sprintf("unheard-%d", i)))
	}
	s.PostAll(ctx, list, 32)
	want := map[string]string{"dead_letters": "waybill dead requeue", "rejected": "waybill trace", "partner_gave_up": "waybill dead requeue"}
	err = harness.Poll(ctx, func() (bool, error) {
		for kind := range want {
			if len(ofKind(sentry.Alerts(), kind)) == 0 {
				return false, nil
			}
		}
		n, err := s.Count(ctx, `SELECT count(*) FROM record WHERE state = 'dead'`)
		return n == 1000, err
	})
	if err != nil {
		t.Fatal(err, len(sentry.Alerts()), "alerts")
	}
	for kind, repair := range want {
		alerts := ofKind(sentry.Alerts(), kind)
		if len(alerts) > 3 {
			t.Errorf("%d events for one cause of %s, at most 3", len(alerts), kind)
		}
		if !strings.Contains(alerts[0].Raw, repair) {
			t.Errorf("%s does not say %q: %s", kind, repair, alerts[0].Raw)
		}
	}
	for _, secret := range []string{canary, harness.Secret, harness.ReceiptKey} {
		if strings.Contains(sentry.Everything(), secret) {
			t.Errorf("%q reached Sentry", secret)
		}
	}
}

func ofKind(alerts []harness.Alert, kind string) []harness.Alert {
	var list []harness.Alert
	for _, a := range alerts {
		if strings.Contains(a.Raw, `"`+kind+`"`) {
			list = append(list, a)
		}
	}
	return list
}
