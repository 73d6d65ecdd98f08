package http_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"waybill.internal/pkg/provider"
	"waybill.internal/test/world"
)

func sendEvents(w *door) {
	first := w.signed("/in/signed", "evt-1", `{"thing":"a"}`).is(202, `"state":"queued"`, `"idempotency_key":"evt-1"`)
	w.signed("/in/signed", "evt-1", `{"thing":"a"}`).is(200, `"duplicate":true`, decode[receipt](first).ID)
	w.signed("/in/signed", "evt-1", `{"thing":"b"}`).is(200, `"conflict":true`)
	w.signed("/in/signed", "evt-2", `{"amount":-1}`).is(202, `"state":"rejected"`, `"pointer":"/amount"`)
	w.keyed("/in/keyed", `{"id":"k-1"}`, "Content-Type", "application/vnd.partner+json; charset=UTF-8").is(202)
	w.send("POST", "/in/keyed", `{"id":"k-2"}`, "Authorization", "Bearer "+partner).is(202)
	packed := zip(w, []byte(`{"thing":"zip","id":"k-3"}`))
	w.keyed("/in/keyed", packed, "Content-Encoding", "gzip").is(202)
	w.send("POST", "/in/signed", zip(w, []byte(`{"a":1}`)), append(sign(w, "evt-zip", `{"a":1}`), "Content-Encoding", "gzip")...).is(202)
	w.expect("the body is kept unpacked", world.One[string](w, `SELECT convert_from(p.body, 'UTF8') FROM payload p JOIN record r USING (day, seq) WHERE r.key = 'k-3'`), `{"thing":"zip","id":"k-3"}`)
	w.signed("/in/whole", "evt-list", `[1,2]`).is(202)
	w.send("POST", "/in/named", `{"id":"n-1"}`, "X-Partner-Id", partner).is(202)
	w.send("POST", "/in/keyed", `{"id":"k-4"}`, "Authorization", "bearer "+partner).is(202)
	w.expect("what a header of the partner's own naming held", world.One[string](w, `SELECT p.headers->>'x-partner-id' FROM payload p JOIN record r USING (day, seq) WHERE r.key = 'n-1'`), "[redacted]")
	for _, duplicate := range []bool{false, true} { // Paddle sends again what gets a 202
		p, err := provider.Sign(provider.Config{Scheme: provider.Paddle, Secrets: []string{partner}}, provider.Request{Body: []byte(`{"event_id":"paddle-1"}`)}, time.Now())
		w.Must(err)
		a := decode[receipt](w.send("POST", "/in/paddle", string(p.Body), "Paddle-Signature", p.Header.Get("Paddle-Signature")).is(200, `"idempotency_key":"paddle-1"`))
		w.expect("it is a duplicate", a.Duplicate, duplicate)
	}
}

func zip(w *door, raw []byte) string {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(raw)
	w.Must(err)
	w.Must(z.Close())
	return out.String()
}

func sendBatches(w *door) {
	mixed := "[{\"id\":\"b-1\"},\n {\"id\":},\n {\"amount\":-1,\"id\":\"b-3\"}, {\"no\":1}, {\"id\":\"b-1\"}, {\"id\":\"b-6\",\"note\":\"],{\\\"\"}]"
	b := decode[batch](w.keyed("/in/keyed", mixed).is(207))
	w.expect("statuses", b.statuses(), []int{202, 400, 202, 422, 200, 202})
	w.expect("the broken item's line", b.Items[1].Problem.Errors[0].Line, 2)
	w.expect("the rejected item", b.Items[2].Receipt.State, "rejected")
	w.expect("the item without a key", b.Items[3].Problem.Code, "unidentified")
	w.expect("the duplicate", b.Items[4].Receipt.ID, b.Items[0].Receipt.ID)
	w.expect("refused items are kept", world.One[int](w, `SELECT count(*) FROM interaction WHERE kind = 'refused' AND status IN (400, 422)`), 2)
	w.expect("and counted", world.One[int](w, `SELECT sum(delta) FROM tally WHERE measure = 'refused'`) >= 2, true)
	lines := "{\"a\":1}\r\n\n{\"a\":\n{\"a\":3}"
	b = decode[batch](w.signed("/in/signed", "evt-lines", lines, "Content-Type", "application/x-ndjson").is(207))
	w.expect("statuses of lines", b.statuses(), []int{202, 400, 202})
	w.expect("key of an item", b.Items[2].Receipt.IdempotencyKey, "evt-lines:2")
	w.expect("line of the broken one", b.Items[1].Problem.Errors[0].Line, 3)
	again := decode[batch](w.signed("/in/signed", "evt-lines", lines, "Content-Type", "application/x-ndjson").is(207))
	w.expect("the same batch again", again.statuses(), []int{200, 400, 200})
	b = decode[batch](w.keyed("/in/strict", `[{"id":"s-1"},{"id":"s-1","x":1},{"id":"s-3","amount":-1}]`).is(207))
	w.expect("strict statuses", b.statuses(), []int{202, 409, 422})
	empty := w.signed("/in/signed", "evt-none", ` [ ] `).is(207, `{"items":[]}`)
	w.expect("a batch of nothing is kept", world.One[int](w, `SELECT count(*) FROM interaction WHERE tracking_id = $1`, empty.header.Get("Trackingid")), 1)
	// The second item's key cannot be made: that is our own fault, and stops what is to come in order.
	for path, want := range map[string][]int{"/in/joined": {202, 503, 202}, "/in/ordered": {202, 503, 503}} {
		w.Await("no other item to fail for a while", func() bool {
			a := w.once("POST", path, `[{"id":"1","thing":"a"},{"id":2,"thing":"a"},{"id":"3","thing":"a"}]`, "Content-Type", "application/json", "X-Api-Key", partner)
			got := decode[batch](a.is(503)).statuses()
			if slices.Equal(got, []int{503, 503, 503}) {
				return false // the machine is busy with other tests
			}
			w.expect("statuses of "+path, got, want)
			return true
		})
	}
	order := make([]string, 0, 2500)
	for i := range cap(order) {
		order = append(order, fmt.Sprintf(`{"id":"order-%04d"}`, i))
	}
	w.keyed("/in/keyed", "["+strings.Join(order, ",")+"]").is(207)
	w.expect("records are in the order of the items", world.One[bool](w, `SELECT bool_and(key = 'order-' || lpad((n - 1)::text, 4, '0')) AND count(*) = 2500
		FROM (SELECT key, row_number() OVER (ORDER BY seq) AS n FROM record WHERE key LIKE 'order-%') o`), true)
}

const origin = "https://www.example.com"

func post(w *door, path string, values url.Values, header ...string) answer {
	w.Helper()
	return w.send("POST", path, values.Encode(), append(header, "Content-Type", "application/x-www-form-urlencoded")...)
}

func body(w *door, where string, args ...any) string {
	w.Helper()
	return world.One[string](w, `SELECT convert_from(p.body, 'UTF8') FROM payload p JOIN record r USING (day, seq) WHERE `+where+` ORDER BY r.seq DESC LIMIT 1`, args...)
}

func sendForms(w *door) {
	post(w, "/in/contact", url.Values{"email": {"a@b.example"}, "topic": {"x", "y"}}, "Origin", origin).is(200, "<h1>Danke</h1>").has("Content-Type", "text/html; charset=utf-8")
	w.expect("the fields", body(w, `r.source = 'page'`), `{"email":"a@b.example","topic":["x","y"]}`)
	post(w, "/in/contact", url.Values{"topic": {"no address"}}, "Referer", origin+"/contact?x=1").is(200, "Danke")
	w.expect("what is invalid is kept", world.One[string](w, `SELECT state FROM record WHERE source = 'page' ORDER BY seq DESC LIMIT 1`), "rejected")
	post(w, "/in/contact", url.Values{"email": {"c@d.example"}}, "Origin", "https://evil.example").is(403, "wrong_origin")
	post(w, "/in/contact", url.Values{"email": {"c@d.example"}}).is(403)
	post(w, "/in/contact", url.Values{"email": {"c@d.example"}}, "Origin", "null", "Accept", "text/html").is(403, "Not received", "Reference: ")
	for range 2 { // a second time is as good
		post(w, "/in/redirect", url.Values{"email": {"once@b.example"}}).is(303).has("Location", "https://www.example.com/thanks")
	}
	post(w, "/in/redirect", url.Values{"name": {"no key"}}).is(303)
	w.expect("who gave no key is kept", world.One[int](w, `SELECT count(*) FROM record WHERE source = 'redirect'`), 2)
	post(w, "/in/redirect", url.Values{"email": {"program@b.example"}}, "Accept", "application/json").is(202, `"state":"queued"`)
	parts := "--XX\r\nContent-Disposition: form-data; name=\"email\"\r\n\r\nf\xfcr@b.example\r\n--XX\r\nContent-Disposition: form-data; name=\"cv\"; filename=\"cv.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n" +
		"--XX\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--XX--\r\n"
	w.send("POST", "/in/redirect", parts, "Content-Type", "multipart/form-data; boundary=XX").is(303)
	w.expect("a file", body(w, `r.key = 'für@b.example'`), `{"cv":{"filename":"cv.txt","content_type":"text/plain","size":5,"base64":"aGVsbG8="},"email":"für@b.example"}`)
	w.send("POST", "/in/redirect", strings.Replace(parts, "hello", strings.Repeat("x", 1025), 1), "Content-Type", "multipart/form-data; boundary=XX").is(413, "file_too_large")
	w.send("POST", "/in/redirect", parts[:60], "Content-Type", "multipart/form-data; boundary=XX").is(400, "unreadable")
	w.send("POST", "/in/redirect", "a=%zz", "Content-Type", "application/x-www-form-urlencoded").is(400, "unreadable")
	w.send("POST", "/in/redirect", "a="+strings.Repeat("x", 1<<20-10), "Content-Type", "application/x-www-form-urlencoded").is(303)
	many := strings.Repeat("--XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n"+strings.Repeat("x", 400<<10)+"\r\n", 2) + "--XX--\r\n"
	w.send("POST", "/in/files", many, "Content-Type", "multipart/form-data; boundary=XX").is(413, "record_too_large")
	w.send("POST", "/in/redirect", strings.Repeat("a=1&", 1001), "Content-Type", "application/x-www-form-urlencoded").is(413, "too_many_fields")
	w.send("POST", "/in/redirect", `{"email":"x"}`, "Content-Type", "application/json").is(415)
	for i := range 4 {
		a := post(w, "/in/plain", url.Values{"email": {fmt.Sprint(i)}}, "Accept", "text/html")
		if i < 3 {
			a.is(200, "Thank you")
		} else {
			a.is(429, "Not received")
		}
	}
}

// sendWrong: every refusal is a problem document that names what to change.
func sendWrong(w *door) {
	good := `{"id":"w-1"}`
	for name, c := range map[string]struct {
		answer answer
		status int
		code   string
		header string
		line   int
	}{
		"no key":             {w.send("POST", "/in/keyed", good), 401, "missing_key", "X-Api-Key", 0},
		"wrong key":          {w.send("POST", "/in/keyed", good, "X-Api-Key", "x"), 401, "bad_key", "X-Api-Key", 0},
		"not signed":         {w.send("POST", "/in/signed", good), 401, "missing_signature", "webhook-signature", 0},
		"cut JSON":           {w.keyed("/in/keyed", "{\n\"id\":"), 400, "unreadable", "", 2},
		"field twice":        {w.keyed("/in/keyed", `{"id":1,"id":2}`), 400, "unreadable", "", 1},
		"empty":              {w.keyed("/in/keyed", ``), 400, "unreadable", "", 1},
		"list not closed":    {w.keyed("/in/keyed", "[1,\n{\"id\":2}"), 400, "unreadable", "", 2},
		"after the list":     {w.keyed("/in/keyed", "[]\n\nx"), 400, "unreadable", "", 3},
		"no gzip":            {w.keyed("/in/keyed", good, "Content-Encoding", "gzip"), 400, "gzip_unreadable", "", 0},
		"cut gzip":           {w.keyed("/in/keyed", zip(w, []byte(good))[:20], "Content-Encoding", "gzip"), 400, "body_incomplete", "", 0},
		"other coding":       {w.keyed("/in/keyed", good, "Content-Encoding", "br"), 415, "unsupported_content_encoding", "", 0},
		"text":               {w.keyed("/in/keyed", good, "Content-Type", "text/plain"), 415, "unsupported_media_type", "", 0},
		"latin":              {w.keyed("/in/keyed", good, "Content-Type", "application/json; charset=latin1"), 415, "unsupported_media_type", "", 0},
		"form for no form":   {w.keyed("/in/keyed", "a=1", "Content-Type", "application/x-www-form-urlencoded"), 415, "unsupported_media_type", "", 0},
		"lines for a single": {w.signed("/in/whole", "w", good, "Content-Type", "application/x-ndjson"), 415, "unsupported_media_type", "", 0},
		"no idempotency key": {w.keyed("/in/keyed", `{}`), 422, "unidentified", "", 0},
		"refused as invalid": {w.keyed("/in/strict", `{"id":"w-2","amount":-1}`), 422, "invalid", "", 0},
		"a number":           {w.keyed("/in/text", `7`), 422, "invalid", "", 0},
		"too large to look":  {w.send("POST", "/in/adyen", `{"notificationItems":[`+strings.Repeat("[],", 1<<19)+`[]]}`), 401, "malformed_body", "Content-Type", 0},
		"nobody's path":      {w.send("POST", "/in/nowhere", good), 404, "not_found", "", 0},
		"PUT":                {w.send("PUT", "/in/keyed", good), 405, "method_not_allowed", "", 0},
		"DELETE of records":  {w.send("DELETE", "/v1/records", ""), 405, "method_not_allowed", "", 0},
	} {
		p := decode[problem](c.answer.is(c.status))
		if p.Code != c.code || p.Header != c.header || p.Detail == "" || p.Status != c.status || p.TrackingID != c.answer.header.Get("Trackingid") {
			w.Errorf("%s: %s", name, c.answer.body)
		}
		if c.line > 0 && (len(p.Errors) != 1 || p.Errors[0].Line != c.line) {
			w.Errorf("%s: the line is not %d: %s", name, c.line, c.answer.body)
		}
		if kind := c.answer.header.Get("Content-Type"); kind != "application/problem+json" {
			w.Errorf("%s: the Content-Type is %s", name, kind)
		}
		if n := world.One[int](w, `SELECT count(*) FROM interaction WHERE tracking_id = $1`, p.TrackingID); n != 1 {
			w.Errorf("%s: %d interactions are kept under %s", name, n, p.TrackingID)
		}
	}
	w.keyed("/in/strict", `{"id":"w-3"}`).is(202)
	w.keyed("/in/strict", `{"id":"w-3","x":1}`).is(409, "conflict")
	w.send("POST", "/in/named", `{"id":`, "X-Partner-Id", partner).is(400)
	for _, where := range []string{`payload p WHERE p.headers::text`, `interaction i WHERE i.request_header::text`} {
		w.expect("a partner's key is kept in "+where, world.One[int](w, `SELECT count(*) FROM `+where+` LIKE '%' || $1 || '%'`, partner), 0)
	}
}

func sendTooMuch(w *door) {
	large := `{"id":"l-1","note":"` + strings.Repeat("x", 1<<20) + `"}`
	w.keyed("/in/strict", large).is(413, "body_too_large")
	w.keyed("/in/keyed", large).is(413, "record_too_large")
	b := decode[batch](w.keyed("/in/keyed", "["+large+`,{"id":"l-2"}]`).is(207))
	w.expect("a large item", b.statuses(), []int{413, 202})
	w.keyed("/in/strict", zip(w, []byte(large)), "Content-Encoding", "gzip").is(413, "body_too_large")
	w.keyed("/in/keyed", zip(w, bytes.Repeat([]byte(" "), 12<<20)), "Content-Encoding", "gzip").is(413, "gzip_too_large")
	w.keyed("/in/keyed", strings.Repeat(zip(w, nil), 1<<20), "Content-Encoding", "gzip").is(413, "body_too_large")
	w.signed("/in/signed", "evt-many", "["+strings.Repeat("{},", 50)+"{}]").is(413, "too_many_items")
	w.signed("/in/signed", "evt-many", strings.Repeat("{}\n", 51), "Content-Type", "application/x-ndjson").is(413, "too_many_items")
	most := `[{"id":"l-3","note":"` + strings.Repeat("x", 1<<19) + `"}` + strings.Repeat(`,{"id":"l-3"}`, 10)
	w.keyed("/in/keyed", most+strings.Repeat(" ", 16<<20-len(most)-1)+"]").is(207)
	w.keyed("/in/keyed", most+strings.Repeat(" ", 16<<20-len(most))+"]").is(413, "body_too_large")
	w.keyed("/in/paced", `{"id":"p-1"}`).is(202)
	w.keyed("/in/paced", `{"id":"p-2"}`).is(202)
	w.keyed("/in/paced", `{"id":"p-3"}`).is(429, "too_many_requests", "2 requests in 1h")
	w.send("POST", "/in/paced", `{"id":"p-3"}`).is(401) // who proves nothing takes nothing from the rate
}

func greet(w *door) {
	w.send("GET", "/in/meta?hub.mode=subscribe&hub.verify_token=let-me-in&hub.challenge=12345", "").is(200, "12345")
	w.send("GET", "/in/meta?hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=12345", "").is(403)
	w.send("PUT", "/in/meta", "").is(405).has("Allow", "GET, POST")
	w.send("GET", "/in/keyed", "").is(405).has("Allow", "POST")
	w.send("GET", "/in/nowhere", "").is(404)
	w.send("GET", "/openapi.json", "").is(200, `"openapi": "3.1.0"`)
	w.expect("no record is made of a handshake", world.One[int](w, `SELECT count(*) FROM record WHERE source = 'meta'`), 0)
}

func ask(w *door) {
	id := decode[receipt](w.keyed("/in/keyed", `{"id":"ask-1"}`).is(202)).ID
	for _, key := range []string{partner, reader} {
		w.send("GET", "/v1/receipts/"+id, "", "Authorization", "Bearer "+key).is(200, id)
		w.send("HEAD", "/v1/receipts/"+id, "", "X-Api-Key", key).is(200)
	}
	w.send("GET", "/v1/receipts/"+id, "", "X-Api-Key", another).is(404)
	w.send("GET", "/v1/receipts/"+id, "", "X-Api-Key", secret).is(401)
	w.send("GET", "/v1/receipts/"+id, "").is(401)
	w.send("GET", "/v1/receipts/abc", "", "X-Api-Key", reader).is(400, "bad_id")
	w.send("GET", "/v1/receipts/"+uuid.NewString(), "", "X-Api-Key", reader).is(404)
	w.send("GET", "/v1/records", "").is(401)
	w.send("GET", "/v1/records?limit=2", "", "X-Api-Key", reader).is(200)
	for _, query := range []string{"limit=0", "limit=501", "limit=x", "state=lost", "since=yesterday", "cursor=abc", "cursor=", "limit=1&limit=2", "from=1", "%zz", "a;b"} {
		w.send("GET", "/v1/records?"+query, "", "X-Api-Key", reader).is(400, "bad_parameter")
	}
}

// fail: what is our own fault is told so, and is never a success.
func fail(w *door) {
	w.down = true
	w.Must(os.Remove(w.lost))
	w.send("POST", "/in/lost", `{"id":"u-1"}`, "Stripe-Signature", "t=1,v1=00").is(503, "unavailable").has("Retry-After", "5")
	w.expect("secrets that cannot be read are an alert", w.Logs.Has(`"problem"`, `"code":"secret_unreadable"`), true)
	lock, err := w.DB.Begin(w.Context())
	w.Must(err)
	_, err = lock.Exec(w.Context(), `LOCK TABLE record, interaction IN ACCESS EXCLUSIVE MODE`)
	w.Must(err)
	id := uuid.NewString()
	for _, a := range []answer{
		w.keyed("/in/keyed", `{"id":"f-1"}`).is(503, "unavailable"),
		w.keyed("/in/keyed", `[{"id":"f-2"},{"id":"f-3"}]`).is(503, `"items"`),
		post(w, "/in/contact", url.Values{"email": {"f@b.example"}}, "Origin", origin, "Accept", "text/html").is(503, "send it again"),
		post(w, "/in/contact", url.Values{"email": {"f@b.example"}}, "Origin", origin).is(503, "unavailable"),
		w.send("GET", "/in/meta?hub.mode=subscribe&hub.verify_token=let-me-in&hub.challenge=1", "").is(503),
		w.send("GET", "/v1/records", "", "X-Api-Key", reader).is(503),
		w.send("GET", "/v1/receipts/"+id, "", "X-Api-Key", reader).is(503),
	} {
		if a.header.Get("Retry-After") == "" {
			w.Errorf("no Retry-After in %d %s", a.status, a.body)
		}
	}
	w.Must(lock.Rollback(w.Context()))
	w.down = false
	w.Await("the batch to be taken", func() bool { return w.keyed("/in/keyed", `[{"id":"f-2"},{"id":"f-3"}]`).status == 207 })
	slow(w)
	floods(w)
}

// floods brings on the limits that end in 429 on every path; it comes last.
func floods(w *door) {
	late := map[string]bool{}
	for i := range 400 {
		late["GET /v1/records"] = w.send("GET", "/v1/records?limit=1", "", "X-Api-Key", reader).status == 429 || late["GET /v1/records"]
		late["GET /v1/receipts"] = w.send("GET", "/v1/receipts/"+uuid.NewString(), "", "X-Api-Key", reader).status == 429 || late["GET /v1/receipts"]
		late["GET /in"] = w.send("GET", "/in/keyed", "").status == 429 || late["GET /in"]
		late["POST /in"] = w.send("POST", "/in/signed", fmt.Sprint(i)).status == 429 || late["POST /in"]
	}
	for what, was := range late {
		if !was {
			w.Errorf("%s was never told to come later", what)
		}
	}
	w.keyed("/in/keyed", `{"id":"flood-1"}`).is(202) // who has a key is not concerned
}

func TestConnections(t *testing.T) {
	t.Parallel()
	w := newDoor(t)
	var first *sender
	w.Await("the only place to be taken", func() bool {
		if first != nil {
			_ = first.conn.Close() // the probe came before it
		}
		first = open(w, "/in/narrow", 100)
		a := w.keyed("/in/narrow", `{"id":"n-2"}`)
		return a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") == "1"
	})
	first.write(`{"id":"` + strings.Repeat("n", 91) + `"}`)
	first.answer().is(202)
	w.Await("the place to be free", func() bool { return w.keyed("/in/narrow", `{"id":"n-3"}`).status != http.StatusTooManyRequests })
}
