package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"waybill.internal/pkg/expression"
)

// PollEnv is what the expressions of a poll's request see.
type PollEnv struct {
	Since, Until time.Time // zero: nil
	Cursor       string    // "": nil, the first page
	Page, Offset int
}

// Request renders the request for a page, all but the credentials. The error is
// a Problem: an expression failed, or gave what a request cannot carry.
func (p *Poll) Request(env PollEnv) (Rendered, error) {
	vars := map[string]any{"page": env.Page, "offset": env.Offset}
	if p.Since != nil {
		vars["since"], vars["until"] = p.Since.text(env.Since), p.Since.text(env.Until.Add(p.Since.Unit()-1)) // rounded up: nothing of the range is left out
	}
	if env.Cursor != "" {
		vars["cursor"] = env.Cursor
	}
	u, err := url.Parse(p.URL)
	if err != nil {
		return Rendered{}, Problem{"", CodeMapping, "the address of the poll cannot be read"}
	}
	query := u.Query()
	for _, name := range slices.Sorted(maps.Keys(p.Query)) {
		text, err := p.parameter(name, vars)
		if err != nil {
			return Rendered{}, err
		}
		if text != nil {
			query.Set(name, *text)
		}
	}
	u.RawQuery = query.Encode()
	out := Rendered{Method: p.Method, URL: u.String(), Header: p.header()}
	if p.Body == nil {
		return out, nil
	}
	var problems []Problem
	value := p.Body.eval(vars, "", &problems)
	if len(problems) > 0 {
		return Rendered{}, problems[0]
	}
	if out.Body, err = canonical(value); err != nil {
		return Rendered{}, Problem{"", CodeExpression, fmt.Sprintf("the body of the poll: %v", err)}
	}
	out.Header.Set("Content-Type", "application/json")
	return out, nil
}

// parameter is nil when it is left out.
func (p *Poll) parameter(name string, vars map[string]any) (*string, error) {
	e := p.Query[name]
	value, err := e.program.Eval(vars)
	if err != nil {
		return nil, Problem{"", CodeExpression, fmt.Sprintf("query %s: %v", name, err)}
	}
	if value == nil {
		return nil, nil
	}
	text, err := expression.Text(value)
	if err != nil {
		return nil, Problem{"", CodeMapping, fmt.Sprintf("query %s: %v", name, err)}
	}
	return &text, nil
}

// NextRequest is the request for a page whose whole address the answer gave. The
// error says why it is not asked: it leads to another host, or cannot be read.
func (p *Poll) NextRequest(address string) (Rendered, error) {
	u, err := url.Parse(address)
	if err != nil {
		return Rendered{}, errors.New("the address of the next page cannot be read")
	}
	base, err := url.Parse(p.URL)
	if err != nil {
		return Rendered{}, errors.New("the address of the poll cannot be read")
	}
	u = base.ResolveReference(u)
	if u.Scheme != base.Scheme || u.Host != base.Host || u.User != nil {
		return Rendered{}, fmt.Errorf("the next page would be at another host (%s), which gets no credentials of ours", shorten(u.Host))
	}
	return Rendered{Method: http.MethodGet, URL: u.String(), Header: p.header()}, nil
}

func (p *Poll) header() http.Header {
	h := http.Header{"Accept": {"application/json"}}
	for name, value := range p.Headers {
		h.Set(name, value)
	}
	return h
}

// Takes tells whether an item is to become a record. A condition that fails, or
// says neither true nor false, leaves none out.
func (p *Poll) Takes(item any) bool {
	if p.Where == nil {
		return true
	}
	takes, err := p.Where.program.Bool(map[string]any{"item": item})
	return takes || err != nil
}

// DetailRequest renders the second request for an item, all but the credentials.
func (p *Poll) DetailRequest(item any) (Rendered, error) {
	path, err := p.Detail.Path.template.Render(map[string]any{"item": item})
	if err != nil {
		return Rendered{}, Problem{"", CodeMapping, fmt.Sprintf("the address of the item's detail: %v", err)}
	}
	base, err := origin(p.URL)
	if err != nil {
		return Rendered{}, Problem{"", CodeMapping, err.Error()}
	}
	return Rendered{Method: http.MethodGet, URL: base + path, Header: p.header()}, nil
}

// text writes a time as the partner's API takes it: nil for the zero time.
func (s *Since) text(t time.Time) any {
	switch {
	case t.Year() < 1900:
		return nil
	case s.Format == "unix":
		return int(t.Unix())
	case s.Format == "unix-ms":
		return int(t.UnixMilli())
	}
	return t.UTC().Truncate(time.Millisecond).Format("2006-01-02T15:04:05.999Z07:00")
}

// Unit is the smallest difference that Format can write.
func (s *Since) Unit() time.Duration {
	if s.Format == "unix" {
		return time.Second
	}
	return time.Millisecond
}

// Time reads an item's time; false when it is none.
func (s *Since) Time(value any) (time.Time, bool) {
	text, err := expression.Text(value)
	if err != nil || len(text) > 64 {
		return time.Time{}, false
	}
	if s.Format == "rfc3339" || s.Format == "" {
		t, err := time.Parse(time.RFC3339Nano, text)
		return t, err == nil
	}
	number, err := json.Number(text).Float64()
	if n, wholeErr := strconv.ParseInt(text, 10, 64); wholeErr == nil {
		number, err = float64(n), nil
	}
	// From 1970 to the year 9999; a microsecond is exact in a float64 there.
	if s.Format == "unix" {
		number *= 1000
	}
	if err != nil || number < 0 || number > 253402300799000 {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(number * 1000)), true
}

// Copies tells whether the source brings events that another one brings as well,
// in words of its own: a webhook and the poll that looks for what it missed.
func (in *Integration) Copies(src *Source) bool {
	if src.Poll != nil {
		return src.Poll.Missed != nil
	}
	return src.Webhook != nil && slices.ContainsFunc(in.Sources, func(s Source) bool {
		return s.Poll != nil && s.Poll.Missed != nil && s.Poll.Missed.Webhook == src.Name
	})
}
