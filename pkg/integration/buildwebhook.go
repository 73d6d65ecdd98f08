package integration

import (
	"errors"
	"net/url"
	"path"
	"strings"

	"waybill.internal/pkg/provider"
)

func (b *builder) webhook(s *Source, at string) {
	w := s.Webhook
	if s.Name == "" {
		s.Name = "webhook"
	}
	if w.Invalid == "" {
		w.Invalid = b.in.Record.Invalid
	}
	if w.Conflict == "" {
		w.Conflict = b.in.Record.Conflict
	}
	at = join(at, "webhook")
	if p := w.Path; p != "" && (p[0] != '/' || path.Clean(p) != p || p == "/" || strings.ContainsAny(p, "{}?#% \t\\") || len(p) > 255) {
		b.wrong(join(at, "path"), "%q cannot be a path to post to; write one such as /in/orders, without a slash at the end", shorten(p))
	}
	if w.Path == "/openapi.json" || w.Path == "/v1" || strings.HasPrefix(w.Path, "/v1/") {
		b.wrong(join(at, "path"), "%s is a path of Waybill's own; write one such as /in/orders", w.Path)
	}
	b.verify(&w.Verify, join(at, "verify"))
	if w.Form != nil {
		b.form(s, at)
		return
	}
	if w.Verify.Scheme == "none" {
		b.wrong(join(at, "verify.scheme"), "without any proof whoever knows the path can send records; none is for forms only, name a scheme")
		return
	}
	if s.IdempotencyKey == nil && b.in.Record.IdempotencyKey == nil && w.Verify.Scheme != "" && !w.Verify.hasEventID() {
		b.wrong(at, "requests with %s carry no event id, so a second arrival cannot be known; add idempotency_key to the source or to record", w.Verify.Scheme)
	}
}

// maxRecord bounds one record, and so a form.
const maxRecord = 1 << 20

// form checks what a form's source decides. A person has no idea of keys and
// cannot repair anything, so nothing that a person sent is refused.
func (b *builder) form(s *Source, at string) {
	w, f := s.Webhook, s.Webhook.Form
	if w.Invalid == "refuse" && b.out.places[join(at, "invalid")] != nil {
		b.wrong(join(at, "invalid"), "the person who sent a form has gone when it is judged; remove it: the record is kept as rejected")
	}
	if w.Conflict == "refuse" && b.out.places[join(at, "conflict")] != nil {
		b.wrong(join(at, "conflict"), "the person who sent a form cannot do anything about a conflict; remove it")
	}
	w.Invalid, w.Conflict = "keep", "receipt"
	if w.MaxBody > 2*maxRecord {
		b.wrong(join(at, "max_body"), "a form is one record of at most 1MiB; write 2MiB or less")
	}
	at = join(at, "form")
	if f.Redirect != "" && f.Page.text != "" {
		b.wrong(join(at, "page"), "a form has a redirect or a page; remove one")
	}
	if f.Redirect != "" && !isRedirect(f.Redirect) {
		b.wrong(join(at, "redirect"), "%q is no address to go to; write one such as https://www.example.com/thanks or /thanks", shorten(f.Redirect))
	}
	if f.Origin == "" {
		return
	}
	u, err := url.Parse(f.Origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != f.Origin || strings.ToLower(f.Origin) != f.Origin {
		b.wrong(join(at, "origin"), "%q is no origin; write scheme and host in small letters, without a path or a slash at the end, such as https://www.example.com", shorten(f.Origin))
	}
}

func isRedirect(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || strings.ContainsAny(text, "\\\r\n") {
		return false
	}
	if u.Scheme == "" {
		return strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//")
	}
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

func (b *builder) verify(v *Verify, at string) {
	if v.Scheme == "" {
		return // said already
	}
	if v.Scheme == string(provider.HMAC) {
		v.Algorithm, v.Encoding = fallback(v.Algorithm, "sha256"), fallback(v.Encoding, "hex")
	}
	v.Header = strings.ToLower(v.Header)
	switch none := v.Scheme == string(provider.None); {
	case none && len(v.Secrets) > 0:
		b.wrong(join(at, "secrets"), "the scheme none has no secrets; remove them, or name a scheme that uses them")
	case !none && len(v.Secrets) == 0 && b.out.places[join(at, "secrets")] == nil:
		b.wrong(at, "%s needs secrets; add a reference such as ${NAME}", v.Scheme)
	}
	if v.Scheme == string(provider.HMAC) && v.Header == "" {
		b.wrong(at, "hmac needs to know where the signature is; add header")
		return
	}
	// A stored version names the default, too.
	if v.Tolerance != provider.DefaultTolerance && v.Verification().Tolerance == 0 {
		b.wrong(join(at, "tolerance"), "%s signs no time here, so a tolerance has no effect; remove it", v.Scheme)
	}
	misfit, ok := errors.AsType[*provider.Misfit](v.Verification().Check())
	if !ok {
		if v.PublicURL == "" && v.Verification().NeedsPublicURL() {
			b.wrong(at, "%s signs the address that it posts to, and without public_url whoever posts names that himself; add the address as the provider knows it, such as public_url: https://hooks.example.com", v.Scheme)
		}
		return
	}
	place := join(at, misfit.Key)
	if b.out.places[place] == nil {
		place = at
	}
	b.wrong(place, "%s", misfit.Text)
}
