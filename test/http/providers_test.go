package http_test

import (
	"net/http"
	"net/url"
	"time"

	"waybill.internal/pkg/provider"
	"waybill.internal/services/ingest"
	"waybill.internal/test/world"
)

const hooks = "https://hooks.example.com"

const chat = `integration: chat
sources:
  - name: sms
    webhook: {path: /in/sms, verify: {scheme: twilio, secrets: ["${PARTNER}"], public_url: "` + hooks + `"}, conflict: refuse}
  - name: slack
    webhook: {path: /in/slack, verify: {scheme: slack, secrets: ["${PARTNER}"]}}
  - name: discord
    webhook: {path: /in/discord, verify: {scheme: discord, secrets: ["${DISCORD}"]}}
    idempotency_key: 'body.id ?? (body.event.type + ":" + body.event.timestamp)'
record:
  entity_key: '"one"'
`

// sendProviders: some providers act upon the answer, and a receipt would be an error to
// them. It has an ingest of its own, held against the same document.
func sendProviders(w *door) {
	w.Helper()
	pair, err := provider.NewPair(provider.Discord)
	w.Must(err)
	d := &door{World: world.New(w.T), contract: w.contract, client: w.client}
	d.Integration("chat", chat)
	d.Settings["PARTNER"], d.Settings["DISCORD"], d.Settings["WAYBILL_INGEST_DROP"] = partner, pair.Verify, w.TempDir()
	d.url = world.Start(d, ingest.Spec()).URL()

	const nothing = `<?xml version="1.0" encoding="UTF-8"?><Response></Response>`
	sms := url.Values{"MessageSid": {"SM1"}, "SmsStatus": {"received"}, "Body": {"Grüße & more"}}.Encode()
	d.proven(provider.Twilio, partner, "/in/sms", sms, formType).says(200, "text/xml; charset=utf-8", nothing)
	d.proven(provider.Twilio, partner, "/in/sms", sms, formType).says(200, "text/xml; charset=utf-8", nothing)
	d.proven(provider.Twilio, partner, "/in/sms", sms+"&x=1", formType).is(409, "conflict")
	d.proven(provider.Twilio, "wrong", "/in/sms", sms, formType).is(401, "bad_signature")
	d.proven(provider.Twilio, partner, "/in/sms", `{"id":"EZ1"}`, "application/json").is(202, `"idempotency_key":"EZ1"`)
	d.expect("a message is one record", world.One[string](d, `SELECT string_agg(key, ' ' ORDER BY key) FROM record WHERE source = 'sms'`), "EZ1 SM1:received")

	command := url.Values{"command": {"/stock"}, "trigger_id": {"13.5"}}.Encode()
	d.proven(provider.Slack, partner, "/in/slack", command, formType).says(200, "text/plain; charset=utf-8", "")
	closed := url.Values{"payload": {`{"type":"view_closed","view":{"id":"V1"}}`}}.Encode()
	d.proven(provider.Slack, partner, "/in/slack", closed, formType).says(200, "text/plain; charset=utf-8", "")
	d.proven(provider.Slack, partner, "/in/slack", `{"type":"event_callback","event_id":"Ev1"}`, "application/json").is(200, `"idempotency_key":"Ev1"`)
	d.expect("slack's records", world.One[string](d, `SELECT string_agg(key, ' ' ORDER BY key) FROM record WHERE source = 'slack'`), "13.5 Ev1 view_closed:V1")

	discord := func(body string) answer {
		return d.proven(provider.Discord, pair.Sign, "/in/discord", body, "application/json")
	}
	discord(`{"type":1,"id":"0"}`).says(200, "application/json", `{"type":1}`)
	discord(`{"type":0,"version":1}`).says(204, "application/json", "")
	discord(`{"type":2,"id":"1"}`).says(200, "application/json", `{"type":5}`)
	discord(`{"type":3,"id":"2"}`).says(200, "application/json", `{"type":6}`)
	discord(`{"type":4,"id":"3"}`).says(200, "application/json", `{"type":8,"data":{"choices":[]}}`)
	discord(`{"type":1,"version":1,"event":{"type":"ENTITLEMENT_CREATE","timestamp":"T"}}`).says(204, "application/json", "")
	d.expect("discord's records", world.One[string](d, `SELECT string_agg(key, ' ' ORDER BY key) FROM record WHERE source = 'discord'`), "1 2 3 ENTITLEMENT_CREATE:T")
}

const formType = "application/x-www-form-urlencoded"

// proven sends a body as the provider signs it.
func (w *door) proven(scheme provider.Scheme, key, path, body, kind string) (a answer) {
	w.Helper()
	c := provider.Config{Scheme: scheme, Secrets: []string{key}}
	if scheme.SignsURL() {
		c.PublicURL = hooks
	}
	r, err := provider.Sign(c, provider.Request{Method: http.MethodPost, URL: w.url + path, Header: http.Header{"Content-Type": {kind}}, Body: []byte(body)}, time.Now())
	w.Must(err)
	u, err := url.Parse(r.URL)
	w.Must(err)
	var header []string
	for name := range r.Header {
		header = append(header, name, r.Header.Get(name))
	}
	return w.send(http.MethodPost, u.RequestURI(), string(r.Body), header...)
}

// says: the answer is this, whole, and can be traced.
func (a answer) says(status int, kind, body string) {
	a.Helper()
	if a.status != status || a.header.Get("Content-Type") != kind || string(a.body) != body || a.header.Get("Trackingid") == "" {
		a.Errorf("got %d %s %q, want %d %s %q", a.status, a.header, a.body, status, kind, body)
	}
}
