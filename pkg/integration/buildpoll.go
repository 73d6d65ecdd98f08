package integration

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"waybill.internal/pkg/expression"
)

// maxPollPointer bounds a JSON pointer of a poll, in bytes.
const maxPollPointer = 256

func (b *builder) poll(s *Source, at string) {
	p := s.Poll
	if s.Name == "" {
		s.Name = "poll"
	}
	if s.IdempotencyKey == nil && (b.in.Record.IdempotencyKey == nil || p.Detail != nil) && !b.refused(at) {
		b.wrong(at, "%s", pollKeyMissing(p))
	}
	at = join(at, "poll")
	b.address(join(at, "url"), &p.URL, false)
	b.auth(join(at, "auth"), p.Auth)
	b.pollHeaders(p, join(at, "headers"))
	if p.Timezone != "" {
		if _, err := time.LoadLocation(p.Timezone); err != nil || p.Timezone == "Local" {
			b.wrong(join(at, "timezone"), "%q is no time zone; write one such as UTC or Europe/Berlin", shorten(p.Timezone))
		}
	}
	b.pollPointers(p, at)
	b.pollRequest(p, at)
	b.pollNext(p, at)
	b.compile(join(at, "where"), p.Where, expression.Scope{Names: []string{"item"}})
	if p.Detail != nil && p.Detail.Path.text != "" {
		b.resolve(join(at, "detail.path"), &p.Detail.Path.text)
		var err error
		if p.Detail.Path.template, err = expression.CompileTemplate(p.Detail.Path.text, expression.Scope{Names: []string{"item"}}); err != nil {
			b.expressionMistake(join(at, "detail.path"), err)
		}
	}
	if p.Missed != nil && p.Missed.Webhook != "" {
		b.pollMissed(s, join(at, "missed"))
	}
}

func pollKeyMissing(p *Poll) string {
	if p.Detail != nil {
		return "an item's identity is needed before its detail is asked for; add to the source an idempotency_key over item, such as item.id"
	}
	return "every run sees again what the one before has seen, so an item must say which event it is; add idempotency_key: what names the item and its version, such as body.id + \"/\" + body.updated_at (its id alone only if items never change; never its content, since A, B, A is three events)"
}

// keyScope is what the source's own idempotency key may name. An item that needs
// a second request is identified before there is a body.
func (s *Source) keyScope() expression.Scope {
	scope := keyScope()
	if s.Poll == nil {
		return scope
	}
	scope.Names = append(scope.Names, "item")
	if s.Poll.Detail != nil {
		scope.Names = []string{"item", "record"}
	}
	return scope
}

func (b *builder) pollHeaders(p *Poll, at string) {
	for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
		b.header(join(at, name), name, true)
		if !validHeaderValue(p.Headers[name]) {
			b.wrong(join(at, name), "the value holds a character that a header cannot carry; remove it")
		}
	}
}

func (b *builder) pollPointers(p *Poll, at string) {
	pointers := map[string]string{"items": p.Items, "next.cursor": p.Next.Cursor, "next.cursor_from": p.Next.CursorFrom, "next.url": p.Next.URL, "next.more": p.Next.More}
	if p.Since != nil {
		pointers["since.field"] = p.Since.Field
	}
	if p.Detail != nil {
		pointers["detail.body"], pointers["detail.headers"] = p.Detail.Body, p.Detail.Headers
	}
	for _, key := range slices.Sorted(maps.Keys(pointers)) {
		if text := pointers[key]; text != "" && (text[0] != '/' || len(text) > maxPollPointer) {
			b.wrong(join(at, key), "%q is no JSON pointer; write one such as /data or /meta/next", shorten(text))
		}
	}
}

// pollNames are what the expressions of a request may name.
func pollNames(p *Poll) []string {
	names := []string{}
	if p.Since != nil {
		names = append(names, "since", "until")
	}
	if p.Next.Cursor != "" || p.Next.CursorFrom != "" {
		names = append(names, "cursor")
	}
	if p.Next.Page {
		names = append(names, "page")
	}
	if p.Next.Offset {
		names = append(names, "offset")
	}
	return names
}

func (b *builder) pollRequest(p *Poll, at string) {
	scope := expression.Scope{Names: pollNames(p)}
	b.each(join(at, "query"), p.Query, scope)
	if p.Body == nil {
		return
	}
	p.Body.each(join(at, "body"), func(at string, e *Expr) { b.compile(at, e, scope) })
	if p.Method == "GET" {
		b.wrong(join(at, "body"), "a GET has no body; remove it, or add method: POST")
	}
}

// names tells whether an expression of the request names what a run changes.
func (p *Poll) names(name string) bool {
	without := expression.Scope{Names: slices.DeleteFunc(pollNames(p), func(n string) bool { return n == name })}
	found := false
	look := func(e Expr) {
		if e.program != nil {
			_, err := expression.Compile(e.text, without)
			found = found || err != nil
		}
	}
	for _, e := range p.Query {
		look(e)
	}
	if p.Body != nil {
		p.Body.each("", func(_ string, e *Expr) { look(*e) })
	}
	return found
}

func (b *builder) pollNext(p *Poll, at string) {
	kinds := 0
	for _, given := range []bool{p.Next.Cursor != "", p.Next.CursorFrom != "", p.Next.Page, p.Next.Offset, p.Next.Link, p.Next.URL != ""} {
		if given {
			kinds++
		}
	}
	next := join(at, "next")
	if kinds > 1 {
		b.wrong(next, "there are %d ways to the next page; write one of cursor, cursor_from, page, offset, link, url", kinds)
		return
	}
	if kinds == 0 && p.Next.More != "" {
		b.wrong(next, "more says that there is a next page, but not how to ask for it; add cursor, cursor_from, page or offset")
	}
	if b.refused(at) {
		return
	}
	for _, name := range pollNames(p) {
		switch {
		case name == "until" || p.names(name):
		case name == "since" && p.Since.NewestFirst:
		case name == "since":
			b.wrong(join(at, "since"), "the request never says since, so that every run would read everything; add it to query, such as updated_since: since, or write newest_first: true if the list is in falling order")
		default:
			b.wrong(next, "the request never says %s, so that every page would be the first; add it to query, such as %s: %s", name, name, name)
		}
	}
	if p.Since != nil && p.Since.NewestFirst && p.Since.Field == "" {
		b.wrong(join(at, "since"), "newest_first needs to know how old an item is; add field")
	}
}

// pollMissed checks that the poll and the webhook can know an event as the same.
func (b *builder) pollMissed(s *Source, at string) {
	if s.Poll.Since == nil || s.Poll.Since.Field == "" {
		b.wrong(at, "an event that is a second old has not been missed; add since with the field that tells an event's time")
	}
	var names []string
	for i := range b.in.Sources {
		w := &b.in.Sources[i]
		if w.Webhook == nil {
			continue
		}
		name := fallback(w.Name, "webhook")
		names = append(names, name)
		if name != s.Poll.Missed.Webhook {
			continue
		}
		if s.IdempotencyKey == nil && w.IdempotencyKey != nil {
			b.wrong(join(at, "webhook"), "%s has an idempotency_key of its own (%s): the same event would be two records; give this source one that makes the same text", name, shorten(w.IdempotencyKey.text))
		}
		return
	}
	hint := "add one"
	if len(names) > 0 {
		hint = "write " + strings.Join(names, " or ")
	}
	b.wrong(join(at, "webhook"), "this integration has no webhook source %q; %s", shorten(s.Poll.Missed.Webhook), hint)
}

// origin is scheme and host of an address.
func origin(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("%q is no address", shorten(address))
	}
	return u.Scheme + "://" + u.Host, nil
}
