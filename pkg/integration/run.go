package integration

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"waybill.internal/pkg/expression"
	"waybill.internal/pkg/planted"
)

// Codes of problems.
const (
	CodeSchema     = "schema"     // the body does not match the schema: class data
	CodeCheck      = "check"      // a check is false: class data
	CodeKey        = "key"        // a key is missing or not allowed: class data
	CodeMapping    = "mapping"    // a step's value cannot be used: class data
	CodeExpression = "expression" // an expression failed on valid data: class bug
)

// Problem is one thing wrong with a record. Messages do not contain its values.
type Problem struct {
	Pointer string `json:"pointer"` // JSON pointer into the body or the result; may be empty
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (p Problem) Error() string {
	if p.Pointer == "" {
		return p.Message
	}
	return p.Pointer + ": " + p.Message
}

// Bug tells whether the integration is wrong rather than the record.
func (p Problem) Bug() bool { return p.Code == CodeExpression }

func itoa(i int) string { return strconv.Itoa(i) }

// Validate checks a decoded body (as DecodeJSON gives it) against the schema and
// every check, and gives all problems, at most 200. A check that cannot be
// evaluated is a problem with CodeExpression, unless the schema already explains it.
func (in *Integration) Validate(body any) []Problem {
	var problems []Problem
	if in.Record.Schema != nil {
		problems = in.Record.Schema.validate(body)
	}
	if len(in.Record.Check) == 0 {
		return problems
	}
	matches := len(problems) == 0
	scope := body
	if _, ok := body.(map[string]any); !ok {
		scope = nil // a body without fields: each reads as nil
	}
	vars := map[string]any{"body": scope}
	for _, check := range in.Record.Check {
		holds, err := check.program.Bool(vars)
		switch {
		case err != nil && matches:
			problems = append(problems, Problem{check.pointer(), CodeExpression, err.Error()})
		case err == nil && !holds:
			problems = append(problems, Problem{check.pointer(), CodeCheck, "the check does not hold: " + check.text})
		}
	}
	return problems
}

// pointer names the first field that a check reads.
func (e Expr) pointer() string {
	if fields := e.program.Fields(); len(fields) > 0 {
		return "/" + escapePointer(fields[0])
	}
	return ""
}

// Input is an arrival, before it is a record.
type Input struct {
	Body     any               // as DecodeJSON gives it; a row is an object of texts
	Headers  map[string]string // lower-case name to value
	FileHash string            // file sources: SHA-256 of the file's content, hexadecimal
	Row      int64             // file sources: number of the row, from 1
	// EventID is the sender's own identity of the event, "" if there is none.
	EventID string
	Item    any // poll sources: the item as the list gives it
}

// Bounds of keys, in bytes.
const maxKey = 512

// Keys gives the idempotency key and the entity key of an arrival. The error is a
// Problem: CodeKey when a key is missing, is not a text, number or bool, is not UTF-8,
// holds a NUL or has more than 512 bytes; CodeExpression when an expression fails.
// If only the entity key is at fault, the idempotency key is returned with the error.
func (in *Integration) Keys(src *Source, arrival Input) (idempotencyKey, entityKey string, err error) {
	vars := map[string]any{"body": arrival.Body, "headers": arrival.Headers,
		"record": map[string]any{"integration": in.Name, "source": src.Name}}
	if src.Poll != nil {
		vars["item"] = arrival.Item
	}
	expr := src.IdempotencyKey
	if expr == nil {
		expr = in.Record.IdempotencyKey
	}
	switch {
	case expr != nil:
		if idempotencyKey, err = evalKey("idempotency key", expr, vars); err != nil {
			return "", "", err
		}
	case src.File != nil:
		if arrival.FileHash == "" || arrival.Row < 1 {
			return "", "", Problem{Code: CodeKey, Message: "the idempotency key needs the file's hash and the row's number"}
		}
		idempotencyKey = arrival.FileHash + ":" + strconv.FormatInt(arrival.Row, 10)
	default:
		if idempotencyKey, err = checkKey("idempotency key", arrival.EventID); err != nil {
			return "", "", err
		}
	}
	if in.Record.EntityKey == nil {
		return idempotencyKey, idempotencyKey, nil
	}
	entityKey, err = evalKey("entity key", in.Record.EntityKey, vars)
	return idempotencyKey, entityKey, err
}

func evalKey(what string, e *Expr, vars map[string]any) (string, error) {
	value, err := e.program.Eval(vars)
	if err != nil {
		return "", Problem{Code: CodeExpression, Message: "the " + what + ": " + err.Error()}
	}
	if value == nil {
		return "", Problem{Code: CodeKey, Message: fmt.Sprintf("the %s is missing: %s gives nothing", what, e.text)}
	}
	text, err := expression.Text(value)
	if err != nil {
		return "", Problem{Code: CodeKey, Message: fmt.Sprintf("the %s (%s) must be a text, a number or a bool: %v", what, e.text, err)}
	}
	return checkKey(what, text)
}

func checkKey(what, text string) (string, error) {
	switch {
	case text == "":
		return "", Problem{Code: CodeKey, Message: "the " + what + " is empty"}
	case len(text) > maxKey:
		return "", Problem{Code: CodeKey, Message: fmt.Sprintf("the %s has %d bytes; at most %d are allowed", what, len(text), maxKey)}
	case !utf8.ValidString(text):
		return "", Problem{Code: CodeKey, Message: "the " + what + " is not UTF-8"}
	case strings.ContainsRune(text, 0):
		return "", Problem{Code: CodeKey, Message: "the " + what + " holds a NUL"}
	}
	return text, nil
}

// RecordView is what expressions see as record.
type RecordView struct {
	ID, IdempotencyKey, EntityKey, Integration, Source string
	AcceptedAt                                         time.Time
}

// Env is what the expressions of a step see. It is only read.
type Env struct {
	Body    any
	Headers map[string]string // lower-case name to value
	Record  RecordView
	Steps   map[string]any // results of earlier named steps
	Mapped  map[string]any // what map steps set so far
}

// Response is an answer of a destination or of the partner.
type Response struct {
	Status  int
	Headers map[string]string // lower-case name to value
	Body    any               // as DecodeJSON gives it; a text when it is not JSON; nil when empty
}

// Item is an outcome that was posted.
type Item struct {
	ID      string
	Outcome int
	Status  string
}

func (e Env) vars() map[string]any {
	return map[string]any{"body": e.Body, "headers": e.Headers, "steps": e.Steps, "mapped": e.Mapped,
		"record": map[string]any{"id": e.Record.ID, "idempotency_key": e.Record.IdempotencyKey,
			"entity_key": e.Record.EntityKey, "integration": e.Record.Integration, "source": e.Record.Source,
			"accepted_at": e.Record.AcceptedAt}}
}

func (r Response) value() map[string]any {
	return map[string]any{"status": r.Status, "headers": r.Headers, "body": r.Body}
}

// Eval gives the target fields. Every expression that fails is a problem; with
// problems the fields must not be used.
func (m *Map) Eval(env Env) (map[string]any, []Problem) {
	vars, problems := env.vars(), []Problem(nil)
	out := make(map[string]any, len(m.Fields))
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		field := m.Fields[name]
		out[name] = field.eval(vars, "/"+name, &problems)
	}
	return out, problems
}

// Values gives the columns of the key with their values; a key that is missing, a
// list or an object is a Problem with CodeMapping.
func (l *LookupStep) Values(env Env) (map[string]any, error) {
	vars, out := env.vars(), make(map[string]any, len(l.Key))
	for _, column := range slices.Sorted(maps.Keys(l.Key)) {
		value, err := l.Key[column].program.Eval(vars)
		if err != nil {
			return nil, Problem{"/" + column, CodeExpression, err.Error()}
		}
		if _, err := expression.Text(value); err != nil {
			return nil, Problem{"/" + column, CodeMapping, fmt.Sprintf("lookup %s: %s: %v", l.Name, l.Key[column].text, err)}
		}
		out[column] = value
	}
	return out, nil
}

// Row gives the values of Columns, in their order; a key column without a value is a
// Problem with CodeMapping.
func (u *Upsert) Row(mapped map[string]any) ([]any, error) {
	row := make([]any, len(u.Columns))
	for i, column := range u.Columns {
		row[i] = mapped[column]
		if row[i] == nil && slices.Contains(u.Key, column) {
			return nil, Problem{"/" + column, CodeMapping, "the key column has no value"}
		}
	}
	return row, nil
}

// Rendered is a request, ready to send except for authentication.
type Rendered struct {
	Method, URL string
	Header      http.Header
	Body        []byte // nil when the call has none
}

// CallTimeout is the step's timeout or else the destination's.
func (c *Call) CallTimeout() time.Duration { return c.callTimeout }

// Request renders the call: the same env gives the same bytes. The error is a
// Problem with CodeExpression or, for values that do not fit a URL or a header, CodeMapping.
func (c *Call) Request(env Env) (Rendered, error) {
	vars := env.vars()
	path, err := c.Path.template.Render(vars)
	if err != nil {
		return Rendered{}, Problem{"", CodeMapping, fmt.Sprintf("call %s: path: %v", c.Name, err)}
	}
	out := Rendered{Method: c.Method, URL: c.base + path, Header: http.Header{}}
	if c.Body != nil {
		var problems []Problem
		value := c.Body.eval(vars, "", &problems)
		if len(problems) > 0 {
			return Rendered{}, problems[0]
		}
		if out.Body, err = canonical(value); err != nil {
			return Rendered{}, Problem{"", CodeExpression, fmt.Sprintf("call %s: %v", c.Name, err)}
		}
		out.Header.Set("Content-Type", "application/json")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		value, err := c.Headers[name].program.Eval(vars)
		if err != nil {
			return Rendered{}, Problem{"", CodeExpression, fmt.Sprintf("call %s: header %s: %v", c.Name, name, err)}
		}
		if value == nil {
			continue
		}
		text, err := expression.Text(value)
		if err == nil && !validHeaderValue(text) {
			err = errors.New("holds a character that a header cannot carry")
		}
		if err != nil {
			return Rendered{}, Problem{"", CodeMapping, fmt.Sprintf("call %s: header %s: %v", c.Name, name, err)}
		}
		out.Header.Set(name, text)
	}
	return out, nil
}

// Ruling says what an answer means.
type Ruling int

// The rulings. Unclear leaves it to the status: timeouts, 429, 5xx and their like.
const (
	Unclear Ruling = iota
	Accepted
	Rejected
)

func (r Ruling) String() string { return [...]string{"unclear", "accepted", "rejected"}[r] }

// Verdict is a ruling with, for Rejected, the rule's code and message.
type Verdict struct {
	Ruling        Ruling
	Code, Message string
}

// Judge applies the reject rules in order, then accept. kept is what to keep of
// an accepted answer: steps.<name>. An expression that fails is a Problem with CodeExpression.
func (c *Call) Judge(env Env, resp Response) (Verdict, map[string]any, error) {
	vars := env.vars()
	vars["response"] = resp.value()
	failed := func(what string, err error) (Verdict, map[string]any, error) {
		return Verdict{}, nil, Problem{"", CodeExpression, fmt.Sprintf("call %s: %s: %v", c.Name, what, err)}
	}
	for i, rule := range c.Reject {
		holds, err := rule.When.program.Bool(vars)
		if err != nil {
			return failed(index("reject", i), err)
		}
		if holds {
			return Verdict{Rejected, rule.Code, rule.Message}, nil, nil
		}
	}
	accepted, err := resp.Status >= 200 && resp.Status <= 299, error(nil)
	if c.Accept != nil {
		if accepted, err = c.Accept.program.Bool(vars); err != nil {
			return failed("accept", err)
		}
	}
	if !accepted {
		return Verdict{Ruling: Unclear}, nil, nil
	}
	kept := make(map[string]any, len(c.Keep))
	for _, name := range slices.Sorted(maps.Keys(c.Keep)) {
		if kept[name], err = c.Keep[name].program.Eval(vars); err != nil {
			return failed("keep."+name, err)
		}
	}
	return Verdict{Ruling: Accepted}, kept, nil
}

// Confirmed tells whether the partner's answer confirms the item. Only a status of
// 200 to 299 can; a redirect never does.
func (a *Acknowledge) Confirmed(resp Response, item Item) (bool, error) {
	if (resp.Status < 200 || resp.Status > 299) && !planted.RedirectConfirms {
		return false, nil
	}
	confirmed, err := a.Post.Confirmed.program.Bool(map[string]any{"response": resp.value(),
		"item": map[string]any{"id": item.ID, "outcome": item.Outcome, "status": item.Status}})
	if err != nil {
		return false, fmt.Errorf("acknowledge.post.confirmed: %w", err)
	}
	return confirmed, nil
}

// InvalidPolicy says what a source does with a record that fails validation.
func (in *Integration) InvalidPolicy(src *Source) string {
	if src.Webhook != nil {
		return src.Webhook.Invalid
	}
	return in.Record.Invalid
}

// ConflictPolicy says how a source answers a known key with another body.
func (in *Integration) ConflictPolicy(src *Source) string {
	if src.Webhook != nil {
		return src.Webhook.Conflict
	}
	return in.Record.Conflict
}
