// Package steps runs the steps of an integration on one record: one file per
// kind of step. A step is finished when its result is committed, which the
// settlement does together with the record's state; a retry resumes after it
// and sends the same bytes with the same Idempotency-Key.
package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

// Func is a step written in Go. It gets what earlier steps left and returns the
// step's result, which later steps see as steps.<name>. Its errors are classed
// by fault.Of. It must return soon after ctx ends, and be safe to run again.
type Func func(ctx context.Context, env integration.Env, with map[string]any) (any, error)

// Input is one attempt.
type Input struct {
	Integration *integration.Integration
	Record      record.Record
	Payload     ledger.Payload
	Previous    []byte // step results of earlier attempts, as Result.State gave them; nil for none
	Revalidate  bool   // first attempt since a requeue: validation and pure steps run again
	Replay      bool   // a person asked for it to be done again: calls are made again, with new keys
	Alive       func() bool
}

// Result is how the attempt ended and what it leaves.
type Result struct {
	Fact         record.Fact
	Upserts      []ledger.Upsert
	State        []byte // JSON, for the next attempt
	Interactions []ledger.Interaction
	Stack        string // of a panic
}

// Runner holds what steps share. It is safe for concurrent use.
type Runner struct {
	Lookups      *Lookups
	Destinations Destinations
	Funcs        map[string]Func
}

// saved is what is kept of a step between attempts.
type saved struct {
	Try     int             `json:"try,omitempty"`     // of the Idempotency-Key: -2, -3 …
	Request string          `json:"request,omitempty"` // hash of the rendered request
	Unknown bool            `json:"unknown,omitempty"` // a try ended without a usable answer
	Done    bool            `json:"done,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// run is one attempt under way.
type run struct {
	Input
	runner       *Runner
	env          integration.Env
	saved        map[string]saved
	upserts      []ledger.Upsert
	interactions []ledger.Interaction
}

// Run does one attempt. It never panics: a panic in a step is a failure of class bug.
func (r *Runner) Run(ctx context.Context, in Input) (result Result) {
	a := &run{Input: in, runner: r, saved: map[string]saved{}}
	defer func() {
		if value := recover(); value != nil {
			err := fault.FromPanic(value, debug.Stack())
			result = a.end(err)
			result.Stack = err.Stack
		}
	}()
	return a.end(a.all(ctx))
}

func (a *run) all(ctx context.Context) error {
	if len(a.Previous) > 0 {
		if err := json.Unmarshal(a.Previous, &a.saved); err != nil {
			return fault.Wrap(err, fault.Bug, "step_results_unreadable", "read the step results of record %s", a.Record.ID)
		}
	}
	body, err := decodeBody(a.Payload.Body)
	if err != nil {
		return err
	}
	a.env = integration.Env{Body: body, Headers: a.Payload.Headers, Steps: map[string]any{}, Mapped: map[string]any{}, Record: integration.RecordView{
		ID: a.Record.ID.String(), IdempotencyKey: a.Record.Key, EntityKey: a.Record.EntityKey,
		Integration: a.Record.Integration, Source: a.Record.Source, AcceptedAt: a.Record.AcceptedAt,
	}}
	if a.Revalidate {
		if err := problems("invalid", a.Integration.ValidateRecord(a.Record.Source, a.Payload.Headers, body)); err != nil {
			return err
		}
	}
	for i, step := range a.Integration.Process.Steps {
		if !a.Alive() {
			return fault.New(fault.System, "session_lapsed", "the session lapsed before step %d of record %s", i+1, a.Record.ID)
		}
		if err := a.one(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

func (a *run) one(ctx context.Context, s integration.Step) error {
	switch {
	case s.Lookup != nil:
		return a.lookup(ctx, s.Lookup)
	case s.Call != nil:
		return a.call(ctx, s.Call)
	case s.Map != nil:
		fields, wrong := s.Map.Eval(a.env)
		if err := problems("mapping", wrong); err != nil {
			return err
		}
		maps.Copy(a.env.Mapped, fields)
		return nil
	case s.Upsert != nil:
		return a.upsert(s.Upsert)
	case s.Custom != nil:
		return a.custom(ctx, s.Custom)
	default:
		return fault.New(fault.Bug, "unknown_step", "integration %s has a step of a kind that this processor does not know", a.Integration.Name)
	}
}

// end says what the attempt means for the record.
func (a *run) end(err error) Result {
	result := Result{Fact: record.Fact{Event: record.Succeeded}, Interactions: a.interactions}
	if len(a.saved) > 0 {
		state, marshalErr := json.Marshal(a.saved)
		if marshalErr != nil && err == nil {
			err = fault.Wrap(marshalErr, fault.Bug, "step_results_unwritable", "keep the step results of record %s", a.Record.ID)
		}
		result.State = state
	}
	if err != nil {
		f := fault.Of(err)
		result.Fact = record.Fact{Event: record.Failed, Failure: failure(f)}
		result.Stack = f.Stack
		return result
	}
	result.Upserts = a.upserts
	return result
}

func failure(f *fault.Error) record.Failure {
	class := f.Class
	if f.Candidate { // one record alone proves nothing about our credentials
		class = record.ClassSystem
	}
	out := record.Failure{Class: class, Code: f.Code, Message: f.Message, RetryAfter: f.RetryAfter}
	if len(f.Detail) > 0 {
		if detail, err := json.Marshal(f.Detail); err == nil {
			out.Detail = detail
		}
	}
	return out
}

// problems turns what is wrong with the values into one failure: the record's
// fault, unless an expression failed on valid data.
func problems(code string, wrong []integration.Problem) error {
	if len(wrong) == 0 {
		return nil
	}
	class := fault.Data
	detail := make([]fault.Problem, len(wrong))
	for i, p := range wrong {
		if p.Bug() {
			class, code = fault.Bug, "expression"
		}
		detail[i] = fault.Problem{Pointer: p.Pointer, Code: p.Code, Message: p.Message}
	}
	err := fault.New(class, code, "%s", wrong[0].Error())
	err.Detail = detail
	return err
}

// problem is problems for an error that may be one.
func problem(code string, err error) error {
	if p, ok := errors.AsType[integration.Problem](err); ok {
		return problems(code, []integration.Problem{p})
	}
	return err
}

// fresh reports whether what an earlier attempt kept of a pure step must not be used.
func (a *run) fresh() bool { return a.Revalidate || a.Replay }

func (a *run) custom(ctx context.Context, s *integration.Custom) error {
	f, ok := a.runner.Funcs[s.Name]
	if !ok {
		return fault.New(fault.Bug, "unknown_step", "step %s is not built into this processor", s.Name)
	}
	if kept, ok := a.saved[s.Name]; ok && kept.Done && !a.fresh() {
		return a.restore(s.Name, kept)
	}
	result, err := f(ctx, a.env, s.With)
	if err != nil {
		return fmt.Errorf("step %s: %w", s.Name, err)
	}
	return a.keep(s.Name, saved{}, result)
}

// keep remembers a finished step's result for later steps and later attempts.
func (a *run) keep(name string, s saved, result any) error {
	document, err := json.Marshal(result)
	if err != nil {
		return fault.Wrap(err, fault.Bug, "step_result_unwritable", "keep the result of step %s", name)
	}
	s.Done, s.Unknown, s.Result = true, false, document
	a.saved[name] = s
	a.env.Steps[name] = result
	return nil
}

func (a *run) restore(name string, s saved) error {
	result, err := integration.DecodeJSON(s.Result)
	if err != nil {
		return fault.Wrap(err, fault.Bug, "step_results_unreadable", "read the result of step %s", name)
	}
	a.env.Steps[name] = result
	return nil
}

func decodeBody(raw []byte) (any, error) {
	body, err := integration.DecodeJSON(raw)
	if err != nil {
		return nil, fault.Wrap(err, fault.Data, "unreadable", "the body cannot be read: %v", err)
	}
	return body, nil
}
