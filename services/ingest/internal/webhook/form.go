package webhook

import (
	"bytes"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"waybill.internal/pkg/fault"
	"waybill.internal/services/ingest/internal/accept"
)

// form answers a form, or the event of a provider that sends its events as forms.
func (x *exchange) form(kind content, boundary string) {
	w := x.source.Webhook
	maxFile, spare := maxRecord, ""
	if w.Form != nil {
		if !x.originAllowed() {
			x.refuse(http.StatusForbidden, fault.New(fault.Data, "wrong_origin", "forms are taken from pages of %s only", w.Form.Origin))
			return
		}
		// A person knows of no keys: what was sent is kept whatever it lacks.
		maxFile, spare = int(w.Form.MaxFile), x.tracking.String()
		if x.eventID == "" {
			x.eventID = spare
		}
	}
	raw, err := x.decodeForm(kind, boundary, maxFile)
	if err != nil {
		x.failed(err)
		return
	}
	x.event(raw, spare)
}

// decodeForm makes a few forms JSON at a time.
func (x *exchange) decodeForm(kind content, boundary string, maxFile int) ([]byte, error) {
	ctx, cancel := x.within(lookTimeout)
	defer cancel()
	if err := x.decoder.Acquire(ctx, 1); err != nil {
		return nil, &accept.Unavailable{Err: errDecoders}
	}
	defer x.decoder.Release(1)
	return formJSON(x.raw, kind, boundary, maxFile)
}

// originAllowed tells whether the page that sent the form may do so. A browser
// names its page in Origin, an old one in Referer; what names none is refused.
func (x *exchange) originAllowed() bool {
	want := x.source.Webhook.Form.Origin
	if want == "" {
		return true
	}
	if got := x.r.Header.Values("Origin"); len(got) > 0 {
		return len(got) == 1 && strings.EqualFold(got[0], want)
	}
	from, err := url.Parse(x.r.Header.Get("Referer"))
	return err == nil && strings.EqualFold(from.Scheme+"://"+from.Host, want)
}

// person tells whether the answer is for somebody who looks at a browser rather
// than for a program, which would ask for JSON.
func (x *exchange) person() bool {
	return x.source != nil && x.source.Webhook.Form != nil && !strings.Contains(strings.ToLower(x.r.Header.Get("Accept")), "json")
}

// browser tells whether a problem is better shown as a page.
func (x *exchange) browser() bool {
	return x.person() && strings.Contains(strings.ToLower(x.r.Header.Get("Accept")), "text/html")
}

// thank shows the integration's page, or leads to it.
func (x *exchange) thank() {
	f := x.source.Webhook.Form
	x.w.Header().Set("Cache-Control", "no-store")
	if f.Redirect != "" {
		x.w.Header().Set("Location", f.Redirect)
		x.page(http.StatusSeeOther, thanks)
		return
	}
	if page := f.Page.String(); page != "" {
		x.body(http.StatusOK, htmlType, []byte(page))
		return
	}
	x.page(http.StatusOK, thanks)
}

const htmlType = "text/html; charset=utf-8"

// shown is a page of our own.
type shown struct{ Title, Text, Tracking string }

const thanks = "Your message has been received."

// page shows a text of ours to a person.
func (x *exchange) page(status int, text string) {
	title := "Thank you"
	if status >= http.StatusBadRequest {
		title = "Not received"
	}
	var out bytes.Buffer
	if err := pageTemplate().Execute(&out, shown{title, text, x.tracking.String()}); err != nil { // our own page: cannot be
		out.Reset()
		out.WriteString(title)
	}
	x.w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	x.body(status, htmlType, out.Bytes())
}

func pageTemplate() *template.Template {
	return template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}}</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}small{color:#666}</style></head>
<body><main><h1>{{.Title}}</h1><p>{{.Text}}</p><p><small>Reference: {{.Tracking}}</small></p></main></body></html>
`))
}

// personal says to a person what a problem document says to a program.
func personal(p problemDocument) string {
	switch p.Status {
	case http.StatusServiceUnavailable:
		return "We could not store your message just now. Nothing has been received: please go back and send it again in a moment."
	case http.StatusTooManyRequests:
		return "Too many messages came from your network. This one has not been received: please send it again in a minute."
	}
	return "Your message has not been received: " + p.Detail + "."
}
