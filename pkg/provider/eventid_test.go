package provider_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"waybill.internal/pkg/provider"
)

func TestEventIDs(t *testing.T) {
	t.Parallel()
	const form, parts = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"
	for _, c := range []struct {
		name   string
		scheme provider.Scheme
		h      http.Header
		body   string
		want   string
	}{
		{"stripe", provider.Stripe, nil, `{"id":"evt_1"}`, "evt_1"},
		{"stripe: no JSON", provider.Stripe, nil, `x`, ""},
		{"github", provider.GitHub, header("X-GitHub-Delivery", "d"), `{}`, "d"},
		{"gitea", provider.Gitea, header("X-Gitea-Delivery", "d"), `{}`, "d"},
		{"gitea: forgejo", provider.Gitea, header("X-Gitea-Delivery", "d", "X-Forgejo-Delivery", "f"), `{}`, "f"},
		{"bitbucket", provider.Bitbucket, header("X-Request-UUID", "u"), `{}`, "u"},
		{"shopify", provider.Shopify, header("X-Shopify-Webhook-Id", "w", "X-Shopify-Event-Id", "e", "X-Shopify-Topic", "t"), `{}`, "e:t:44136fa355b3678a"},
		{"shopify: delivery", provider.Shopify, header("X-Shopify-Webhook-Id", "w"), `{}`, "w"},
		{"shopify: newer delivery", provider.Shopify, header("Shopify-Webhook-Id", "w", "Shopify-Event-Id", "e"), `{}`, "w"},
		{"shopify: event of a topic", provider.Shopify, header("X-Shopify-Event-Id", "e", "X-Shopify-Topic", "orders/create"), `{}`, "e:orders/create:44136fa355b3678a"},
		{"woocommerce", provider.WooCommerce, header("X-WC-Webhook-Delivery-ID", "w"), `{"id":1}`, "w:037b4e78a6b6e6a7"},
		{"slack", provider.Slack, nil, `{"event_id":"Ev1"}`, "Ev1"},
		{"slack: slash command", provider.Slack, header("Content-Type", form), `command=%2Fx&trigger_id=13.5`, "13.5"},
		{"slack: button", provider.Slack, header("Content-Type", form), `payload=%7B%22trigger_id%22%3A%2212.3%22%7D`, "12.3"},
		{"sendgrid: one", provider.SendGrid, nil, `[{"sg_event_id":"s"}]`, "s"},
		{"sendgrid: one without", provider.SendGrid, nil, `[{"sg_event_id":"s"},{}]`, ""},
		{"sendgrid: mail", provider.SendGrid, header("Content-Type", parts), mailForm("headers", "Received: by a\nMessage-ID: <m1@example.com>\nTo: x\n"), "<m1@example.com>:" + digestOf(`{"to":["a"]}`)},
		{"sendgrid: raw mail", provider.SendGrid, header("Content-Type", parts), mailForm("email", "Message-Id: <m1@example.com>\r\n\r\nGruß\r\n"), "<m1@example.com>:" + digestOf(`{"to":["a"]}`)},
		{"sendgrid: mail without an id", provider.SendGrid, header("Content-Type", parts), mailForm("headers", "To: x\n"), ""},
		{"sendgrid: no mail", provider.SendGrid, header("Content-Type", parts), mailForm("headers", "\x00"), ""},
		{"sendgrid: cut off", provider.SendGrid, header("Content-Type", parts), "--b\r\nContent-Disposition: form-data; name=\"headers\"\r\n\r\nMessage-ID: <m>", ""},
		{"adyen: form", provider.Adyen, header("Content-Type", form), "pspReference=P&eventCode=CAPTURE&success=true", "P:CAPTURE:true"},
		{"square", provider.Square, nil, `{"event_id":"e"}`, "e"},
		{"paddle", provider.Paddle, nil, `{"event_id":"e"}`, "e"},
		{"mailgun", provider.Mailgun, nil, `{"event-data":{"id":"m"}}`, "m"},
		{"mailgun: token", provider.Mailgun, nil, `{"signature":{"token":"t"}}`, "t"},
		{"adyen", provider.Adyen, nil, `{"notificationItems":[{"NotificationRequestItem":{"pspReference":"P","eventCode":"CAPTURE","success":"true"}}]}`, "P:CAPTURE:true"},
		{"too large to look into", provider.Stripe, nil, `{"id":"evt_1","x":"` + strings.Repeat("x", 1<<20) + `"}`, ""},
		{"adyen: event", provider.Adyen, nil, `{"eventId":"Q","type":"recurring.token.created","data":{}}`, "Q"},
		{"adyen: states of one transfer", provider.Adyen, nil, `{"type":"balancePlatform.transfer.updated","data":{"id":"T","sequenceNumber":3}}`, "T:balancePlatform.transfer.updated:3"},
		{"adyen: number, resource in its own object", provider.Adyen, nil, `{"type":"balancePlatform.mandate.updated","data":{"mandate":{"id":"M"},"sequenceNumber":2}}`, "M:balancePlatform.mandate.updated:2"},
		{"adyen: created, resource in its own object", provider.Adyen, nil, `{"type":"balancePlatform.accountHolder.created","timestamp":"T1","data":{"accountHolder":{"id":"AH"}}}`, "AH:balancePlatform.accountHolder.created:T1"},
		{"adyen: id at the top", provider.Adyen, nil, `{"id":"R","type":"a.b.created"}`, "R:a.b.created"},
		{"adyen: only a date", provider.Adyen, nil, `{"type":"balancePlatform.balanceAccount.balance.updated","data":{"creationDate":"D1"}}`, "balancePlatform.balanceAccount.balance.updated:D1:" + digestOf(`{"data":{"creationDate":"D1"},"type":"balancePlatform.balanceAccount.balance.updated"}`)},
		{"adyen: updated with a time", provider.Adyen, nil, `{"type":"x.updated","timestamp":"T1","data":{"id":"T"}}`, "T:x.updated:T1:" + digestOf(`{"data":{"id":"T"},"timestamp":"T1","type":"x.updated"}`)},
		{"adyen: of a terminal", provider.Adyen, nil, `{"SaleToPOIRequest":{}}`, ""},
		{"slack: dialog closed", provider.Slack, header("Content-Type", form), `payload=%7B%22type%22%3A%22view_closed%22%2C%22view%22%3A%7B%22id%22%3A%22V1%22%7D%7D`, "view_closed:V1"},
		{"slack: dialog given up", provider.Slack, header("Content-Type", form), `payload=%7B%22type%22%3A%22dialog_cancellation%22%2C%22action_ts%22%3A%221.2%22%2C%22user%22%3A%7B%22id%22%3A%22U1%22%7D%7D`, "dialog_cancellation:1.2:U1"},
		{"slack: rate limited", provider.Slack, nil, `{"type":"app_rate_limited","team_id":"T1","minute_rate_limited":1518467820}`, "app_rate_limited:T1:1518467820"},
		{"slack: neither", provider.Slack, nil, `{"type":"x"}`, ""},
		{"adyen: nothing to tell states apart", provider.Adyen, nil, `{"type":"x.updated","data":{"id":"T"}}`, ""},
		{"twilio: token", provider.Twilio, header("Content-Type", form, "I-Twilio-Idempotency-Token", "i"), "MessageSid=SM1", "i"},
		{"twilio: message", provider.Twilio, header("Content-Type", form), "MessageSid=SM1&MessageStatus=sent", "SM1:sent"},
		{"twilio: call", provider.Twilio, header("Content-Type", form), "CallSid=CA1&CallStatus=ringing", "CA1:ringing:71c5bdef1e86a4f1"},
		{"twilio: event stream", provider.Twilio, header("Content-Type", "application/json"), `[{"id":"EZ1"}]`, "EZ1"},
		{"discord", provider.Discord, nil, `{"id":"123"}`, "123"},
		{"zoom", provider.Zoom, nil, `{"id":"123"}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := provider.EventID(provider.Config{Scheme: c.scheme}, post([]byte(c.body), c.h))
			if i := strings.LastIndex(c.want, ":"); strings.Contains(c.name, "woocommerce") || strings.Contains(c.name, "call") {
				// the digest's length is what counts
				if !strings.HasPrefix(got, c.want[:i+1]) || len(got) != len(c.want) {
					t.Fatalf("got %q", got)
				}
				return
			}
			if got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
}

// mailForm is as SendGrid sends on a mail.
func mailForm(field, value string) string {
	return "--b\r\nContent-Disposition: form-data; name=\"" + field + "\"\r\n\r\n" + value + "\r\n--b\r\nContent-Disposition: form-data; name=\"envelope\"\r\n\r\n" + `{"to":["a"]}` +
		"\r\n--b\r\nContent-Disposition: form-data; name=\"attachment1\"; filename=\"a.pdf\"\r\n\r\nx\r\n--b--\r\n"
}

func digestOf(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])[:16]
}

func TestDiscriminatingIDs(t *testing.T) {
	t.Parallel()
	id := func(s provider.Scheme, h http.Header, body string) string {
		return provider.EventID(provider.Config{Scheme: s}, post([]byte(body), h))
	}
	if id(provider.Adyen, nil, `{"type":"a.b.updated","timestamp":"T","data":{"id":"1","status":"x"}}`) == id(provider.Adyen, nil, `{"type":"a.b.updated","timestamp":"T","data":{"id":"1","status":"y"}}`) {
		t.Error("two states of one second are one event")
	}
	if id(provider.Adyen, nil, `{"type":"a.b.updated","timestamp":"T","data":{"id":"1"}}`) != id(provider.Adyen, nil, `{ "data":{"id":"1"},"timestamp":"T", "type":"a.b.updated"}`) {
		t.Error("the same state written otherwise is another event")
	}
	woo := header("X-WC-Webhook-Delivery-ID", "w")
	if id(provider.WooCommerce, woo, `{"id":1}`) == id(provider.WooCommerce, woo, `{"id":2}`) {
		t.Error("two orders of one second are one event")
	}
	if id(provider.SendGrid, nil, `[{"sg_event_id":"a"},{"sg_event_id":"b"}]`) == id(provider.SendGrid, nil, `[{"sg_event_id":"a"},{"sg_event_id":"c"}]`) {
		t.Error("two batches are one event")
	}
	shop := header("X-Shopify-Event-Id", "e", "X-Shopify-Topic", "products/update")
	if id(provider.Shopify, shop, `{"id":1}`) == id(provider.Shopify, shop, `{"id":2}`) {
		t.Error("two products that one act changed are one event")
	}
	item := []byte(`{"sg_event_id":"a","id":"b"}`)
	for want, got := range map[string]string{
		"a":     provider.ItemEventID(provider.SendGrid, "req", 3, item),
		"b":     provider.ItemEventID(provider.Twilio, "", 3, item),
		"req:3": provider.ItemEventID(provider.StandardWebhooks, "req", 3, item),
		"":      provider.ItemEventID(provider.HMAC, "", 3, item),
		"evt":   provider.BodyEventID(provider.Stripe, map[string]any{"id": "evt"}),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHandshakes(t *testing.T) {
	t.Parallel()
	get := func(query string) provider.Request {
		return provider.Request{Method: http.MethodGet, URL: "https://a.example/in?" + query}
	}
	meta := "hub.mode=subscribe&hub.challenge=42&hub.verify_token="
	for _, c := range []struct {
		name   string
		scheme provider.Scheme
		r      provider.Request
		is     bool
		want   provider.Answer
	}{
		{"slack", provider.Slack, post([]byte(`{"type":"url_verification","challenge":"c1","token":"x"}`), nil), true, provider.Answer{Status: 200, ContentType: "text/plain; charset=utf-8", Body: []byte("c1"), Signed: true}},
		{"slack: event", provider.Slack, post([]byte(`{"type":"event_callback","challenge":"c1"}`), nil), false, provider.Answer{}},
		{"slack: no challenge", provider.Slack, post([]byte(`{"type":"url_verification"}`), nil), false, provider.Answer{}},
		{"slack: huge", provider.Slack, post([]byte(`{"type":"url_verification","challenge":"`+strings.Repeat("c", 5000)+`"}`), nil), false, provider.Answer{}},
		{"github", provider.GitHub, post([]byte(`{"zen":"x"}`), header("X-GitHub-Event", "ping")), true, provider.Answer{Status: 200, Signed: true}},
		{"github: push", provider.GitHub, post([]byte(`{}`), header("X-GitHub-Event", "push")), false, provider.Answer{Status: 200, Signed: true}},
		{"bitbucket", provider.Bitbucket, post([]byte(`{}`), header("X-Event-Key", "diagnostics:ping")), true, provider.Answer{Status: 200, Signed: true}},
		{"meta", provider.Meta, get(meta + "tok"), true, provider.Answer{Status: 200, ContentType: "text/plain; charset=utf-8", Body: []byte("42")}},
		{"meta: wrong token", provider.Meta, get(meta + "x"), true, provider.Answer{Status: 403}},
		{"meta: the app secret is no verify token", provider.Meta, get(meta + "app"), true, provider.Answer{Status: 403}},
		{"meta: no token", provider.Meta, get(meta), true, provider.Answer{Status: 403}},
		{"meta: unsubscribe", provider.Meta, get("hub.mode=x&hub.challenge=1&hub.verify_token=tok"), false, provider.Answer{}},
		{"meta: event", provider.Meta, post([]byte(`{}`), nil), false, provider.Answer{}},
		{"zoom", provider.Zoom, post([]byte(`{"event":"endpoint.url_validation","payload":{"plainToken":"p"}}`), nil), true,
			provider.Answer{Status: 200, ContentType: "application/json", Body: []byte(`{"encryptedToken":"` + hexMAC("app", "p") + `","plainToken":"p"}`), Signed: true}},
		{"discord", provider.Discord, post([]byte(`{"type":1,"id":"1"}`), nil), true, provider.Answer{Status: 200, ContentType: "application/json", Body: []byte(`{"type":1}`), Signed: true}},
		{"discord: ping of webhook events", provider.Discord, post([]byte(`{"type":0,"version":1}`), nil), true, provider.Answer{Status: 204, ContentType: "application/json", Signed: true}},
		{"discord: webhook event", provider.Discord, post([]byte(`{"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}`), nil), false, provider.Answer{}},
		{"discord: command", provider.Discord, post([]byte(`{"type":2}`), nil), false, provider.Answer{}},
		{"woocommerce", provider.WooCommerce, post([]byte(`webhook_id=12`), header("Content-Type", "application/x-www-form-urlencoded")), true, provider.Answer{Status: 200}},
		{"woocommerce: more", provider.WooCommerce, post([]byte(`webhook_id=12&x=1`), header("Content-Type", "application/x-www-form-urlencoded")), false, provider.Answer{Status: 200}},
		{"stripe", provider.Stripe, post([]byte(`{"type":"url_verification","challenge":"c"}`), nil), false, provider.Answer{}},
		{"get", provider.Slack, get("x=1"), false, provider.Answer{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, is := provider.Handshake(c.scheme, c.r, []string{"app", "token:tok"})
			if is != c.is || is && (got.Status != c.want.Status || got.ContentType != c.want.ContentType || string(got.Body) != string(c.want.Body) || got.Signed != c.want.Signed) {
				t.Fatalf("got %+v %q, %v", got, got.Body, is)
			}
		})
	}
}

func TestVerifyTokenIsNoSecret(t *testing.T) {
	t.Parallel()
	v := mustNew(t, provider.Config{Scheme: provider.Meta, Secrets: []string{"token:tok", "app"}})
	got, err := v.Verify(post(body, header("X-Hub-Signature-256", "sha256="+hexMAC("app", string(body)))), now)
	if err != nil || got.KeyIndex != 1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, forged := range []string{"tok", "token:tok"} {
		if _, err := v.Verify(post(body, header("X-Hub-Signature-256", "sha256="+hexMAC(forged, string(body)))), now); err == nil {
			t.Errorf("the verify token signs as %q", forged)
		}
	}
	if _, err := provider.New(provider.Config{Scheme: provider.Meta, Secrets: []string{"token:tok"}}); err == nil {
		t.Error("only a verify token is no secret")
	}
}

func TestNone(t *testing.T) {
	t.Parallel()
	got, err := mustNew(t, provider.Config{Scheme: provider.None}).Verify(provider.Request{}, now)
	if err != nil || got != (provider.Verified{KeyIndex: -1}) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := provider.New(provider.Config{Scheme: provider.None, Secrets: []string{"x"}}); err == nil {
		t.Error("a secret without use is accepted")
	}
}

func TestUses(t *testing.T) {
	t.Parallel()
	var uses provider.Uses
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() { uses.Note("shop/webhook", i%2, now.Add(time.Duration(i)*time.Second)) })
	}
	all.Wait()
	uses.Note("shop/webhook", 1, now) // late
	uses.Note("brand/webhook", 0, now)
	uses.Note("brand/webhook", -1, now)
	got := uses.Snapshot()
	want := []provider.Use{{Source: "brand/webhook", Index: 0, At: now}, {Source: "shop/webhook", Index: 0, At: now.Add(48 * time.Second)}, {Source: "shop/webhook", Index: 1, At: now.Add(49 * time.Second)}}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
}
