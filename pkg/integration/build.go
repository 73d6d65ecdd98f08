package integration

import (
	"errors"
	"fmt"
	"maps"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"waybill.internal/pkg/expression"
)

// builder checks what spans several keys, fills the defaults that depend on
// other keys, and compiles the expressions.
type builder struct {
	out    *mistakes
	in     *Integration
	lookup Lookup
}

func (b *builder) wrong(path, format string, args ...any) { b.out.at(path, format, args...) }

func (b *builder) expressionMistake(path string, err error) {
	var at *expression.Error
	if !errors.As(err, &at) {
		b.wrong(path, "%v", err)
		return
	}
	b.out.inside(path, at.Line, at.Column, fmt.Sprintf("in %q: %s", shorten(at.Expression), at.Message))
}

func (b *builder) run() {
	b.record()
	b.sources()
	for _, name := range slices.Sorted(maps.Keys(b.in.Destinations)) {
		b.destination(name)
	}
	b.process()
	if b.in.Acknowledge != nil && b.in.Acknowledge.Post != nil {
		b.post(b.in.Acknowledge.Post)
	}
}

func keyScope() expression.Scope {
	return expression.Scope{Names: []string{"body", "headers", "record"},
		Members: map[string][]string{"record": {"integration", "source"}}}
}

func (b *builder) record() {
	r := &b.in.Record
	b.compile("record.idempotency_key", r.IdempotencyKey, keyScope())
	b.compile("record.entity_key", r.EntityKey, keyScope())
	if r.Order != "none" && r.Order != "" && r.EntityKey == nil {
		b.wrong("record.order", "%s needs to know what a record is about; add record.entity_key", r.Order)
	}
	scope := expression.Scope{Names: []string{"body"}, Fields: "body"}
	if r.Schema != nil {
		scope.Known = r.Schema.properties()
	}
	for i := range r.Check {
		b.compile(index("record.check", i), &r.Check[i], scope)
	}
}

func (b *builder) sources() {
	names, paths := map[string]bool{}, map[string]bool{}
	for i := range b.in.Sources {
		s, at := &b.in.Sources[i], index("sources", i)
		switch {
		case s.kinds() != 1:
			if b.out.place(at).kind == objectNode && !b.refused(at) {
				b.wrong(at, "a source has exactly one kind; write webhook, file, poll or kafka")
			}
			continue
		case s.Webhook != nil:
			b.webhook(s, at)
			if paths[s.Webhook.Path] {
				b.wrong(join(at, "webhook.path"), "the path %s is taken by another source; choose another", s.Webhook.Path)
			}
			paths[s.Webhook.Path] = true
		case s.File != nil:
			b.file(s, at)
		case s.Poll != nil:
			b.poll(s, at)
		default:
			b.kafka(s, at)
		}
		if names[s.Name] {
			b.wrong(at, "two sources are named %q; give each a name", s.Name)
		}
		names[s.Name] = true
		b.compile(join(at, "idempotency_key"), s.IdempotencyKey, s.keyScope())
	}
}

// refused tells whether a mistake inside of path already explains why it is empty.
func (b *builder) refused(path string) bool {
	return slices.ContainsFunc(b.out.found, func(m Mistake) bool { return strings.HasPrefix(m.Path, path+".") })
}

func fallback(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func (b *builder) resolve(at string, text *string) {
	if *text == "" {
		return
	}
	out, err := resolve(*text, b.lookup)
	if err != nil {
		b.wrong(at, "%v", err)
	}
	*text = out
}

// address replaces variables and checks a URL to call.
func (b *builder) address(at string, text *string, base bool) {
	b.resolve(at, text)
	if *text == "" || strings.Contains(*text, "${") {
		return
	}
	u, err := url.Parse(*text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		b.wrong(at, "%q is no address; write one such as https://crm.example/api", shorten(*text))
	case u.User != nil:
		b.wrong(at, "the address holds a user name or password; move it to auth")
	case u.Fragment != "" || base && (u.RawQuery != "" || u.ForceQuery):
		b.wrong(at, "the address has a query or fragment; remove it")
	case base:
		*text = strings.TrimRight(*text, "/")
	}
}

func (b *builder) auth(at string, a *Auth) {
	if a == nil {
		return
	}
	kinds := 0
	for _, given := range []bool{a.Bearer != nil, a.Basic != nil, a.Header != nil} {
		if given {
			kinds++
		}
	}
	if kinds > 1 || kinds == 0 && !b.refused(at) {
		b.wrong(at, "there are %d kinds of auth; write exactly one of bearer, basic, header", kinds)
	}
	if a.Header != nil {
		b.header(join(at, "header.name"), a.Header.Name, false)
	}
	if a.Basic != nil && strings.Contains(a.Basic.Username, ":") {
		b.wrong(join(at, "basic.username"), "a user name cannot hold a colon; remove it")
	}
}

// header checks a header that is sent; some are set by the client alone.
func (b *builder) header(at, name string, secret bool) {
	if name == "" {
		return
	}
	reserved := []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Idempotency-Key", "Trailer", "Te", "Upgrade"}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	switch {
	case !validHeaderName(name):
		b.wrong(at, "%q is no name of a header; use letters, digits and hyphens", shorten(name))
	case slices.Contains(reserved, canonical):
		b.wrong(at, "the header %s is set by Waybill; remove it", canonical)
	case secret && (canonical == "Authorization" || canonical == "Cookie"):
		b.wrong(at, "the header %s carries a secret; use auth of the destination", canonical)
	}
}

func (b *builder) destination(name string) {
	d, at := b.in.Destinations[name], join("destinations", name)
	if p := patterns()["ident"]; !p.form.MatchString(strings.ReplaceAll(name, "-", "_")) {
		b.wrong(at, "%q is not allowed as a name; use letters, digits, hyphens and underscores", shorten(name))
	}
	b.address(join(at, "url"), &d.URL, true)
	b.auth(join(at, "auth"), d.Auth)
	b.in.Destinations[name] = d
}

func (b *builder) post(p *Post) {
	at := "acknowledge.post"
	b.address(join(at, "to"), &p.To, false)
	b.auth(join(at, "auth"), p.Auth)
	b.compile(join(at, "confirmed"), &p.Confirmed, expression.Scope{Names: []string{"response", "item"},
		Members: map[string][]string{"response": responseMembers(), "item": {"id", "outcome", "status"}}})
	if p.Retry.First > p.Retry.Max {
		b.wrong(join(at, "retry.first"), "the first delay is longer than the longest; lower it, or raise max")
	}
}
