package simulated

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The small catalogue of the brand: client keys a platform key exists for, and
// some it has never heard of.
var (
	knownProducts   = [...]string{"washer-100", "washer-200", "dryer-100", "fridge-300", "oven-500", "hob-510", "kettle-7", "toaster-2"}
	unknownProducts = [...]string{"teleporter-1", "washer-1OO", "discontinued-9"}
)

// KnownProducts gives the client keys of the catalogue, for seeding the lookup.
func KnownProducts() []string { return append([]string(nil), knownProducts[:]...) }

// ServiceRequest is one record of the demo.
type ServiceRequest struct {
	RequestNo string `json:"request_no"`
	Email     string `json:"email"`
	Product   string `json:"product"`
	OpenedAt  string `json:"opened_at"`           // RFC 3339
	ClosedAt  string `json:"closed_at,omitempty"` // RFC 3339
	Quantity  int    `json:"quantity"`
	Note      string `json:"note,omitempty"`
}

// Mix is the share of each kind among what is generated, each between 0 and 1
// and at most 1 together; the rest is good.
type Mix struct {
	Duplicate      float64 // the same event again, same id, same bytes
	UnknownProduct float64 // rejected by the lookup
	ClosedEarly    float64 // closed_at before opened_at: rejected by the check
	Unsigned       float64 // refused with 401
	Malformed      float64 // signed, but no JSON: refused with 400
}

// Kind says what one generated sending is.
type Kind string

// The kinds of sendings.
const (
	Good           Kind = "good"
	Duplicate      Kind = "duplicate"
	UnknownProduct Kind = "unknown_product"
	ClosedEarly    Kind = "closed_early"
	Unsigned       Kind = "unsigned"
	Malformed      Kind = "malformed"
)

func (m Mix) check() error {
	sum := 0.0
	for _, r := range []float64{m.Duplicate, m.UnknownProduct, m.ClosedEarly, m.Unsigned, m.Malformed} {
		if !(r >= 0 && r <= 1) {
			return errors.New("simulated: a share of the mix must lie between 0 and 1")
		}
		sum += r
	}
	if sum > 1.000001 {
		return fmt.Errorf("simulated: the shares of the mix add up to %.3f, at most 1 is possible", sum)
	}
	return nil
}

// kind gives the kind of sending n, from 0. The first is never a duplicate.
func (m Mix) kind(seed uint64, n int) Kind {
	x := roll(seed, "kind", "", uint64(n))
	for _, c := range []struct {
		share float64
		kind  Kind
	}{{m.Duplicate, Duplicate}, {m.UnknownProduct, UnknownProduct}, {m.ClosedEarly, ClosedEarly}, {m.Unsigned, Unsigned}, {m.Malformed, Malformed}} {
		if x < c.share {
			if c.kind == Duplicate && n == 0 {
				return Good
			}
			return c.kind
		}
		x -= c.share
	}
	return Good
}

// original gives the earlier sending that duplicate n repeats: one that arrives
// as a record, at most 200 before it, or itself if there is none.
func (m Mix) original(seed uint64, n int) int {
	reach := min(n, 200)
	from := n - 1 - int(roll(seed, "original", "", uint64(n))*float64(reach))
	for i := from; i >= max(0, n-400); i-- {
		switch m.kind(seed, i) {
		case Good, UnknownProduct, ClosedEarly:
			return i
		}
	}
	return n
}

// Plan counts the kinds of the first n sendings.
func (m Mix) Plan(seed uint64, n int) map[Kind]int {
	out := map[Kind]int{}
	for i := range n {
		k, _ := m.resolve(seed, i)
		out[k]++
	}
	return out
}

// resolve gives the kind of sending n and the sending whose record it carries.
func (m Mix) resolve(seed uint64, n int) (Kind, int) {
	k := m.kind(seed, n)
	if k != Duplicate {
		return k, n
	}
	if o := m.original(seed, n); o != n {
		return Duplicate, o
	}
	return Good, n
}

// serviceRequest makes record n of a kind.
func serviceRequest(seed uint64, prefix string, n int, k Kind) ServiceRequest {
	at := func(what string, below int) int { return int(roll(seed, what, prefix, uint64(n)) * float64(below)) }
	opened := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC).Add(time.Duration(at("opened", 200*24*60)) * time.Minute)
	r := ServiceRequest{
		RequestNo: fmt.Sprintf("%s-%d-%07d", prefix, seed, n+1),
		Email:     fmt.Sprintf("customer%d@brand.example", at("email", 5000)),
		Product:   knownProducts[at("product", len(knownProducts))],
		OpenedAt:  opened.Format(time.RFC3339),
		Quantity:  1 + at("quantity", 5),
		Note:      [...]string{"", "does not start", "makes a noise: \"klonk\"", "Tür schließt nicht", "leaks; urgent"}[at("note", 5)],
	}
	if at("closed", 3) == 0 {
		// Another offset than opened_at, so that comparing texts would be wrong.
		r.ClosedAt = opened.Add(time.Duration(1+at("took", 100)) * time.Hour).In(time.FixedZone("", 2*3600)).Format(time.RFC3339)
	}
	switch k {
	case UnknownProduct:
		r.Product = unknownProducts[at("unknown", len(unknownProducts))]
	case ClosedEarly:
		r.ClosedAt = opened.Add(-time.Duration(1+at("early", 100)) * time.Hour).Format(time.RFC3339)
	}
	return r
}

// sending is one POST to be made.
type sending struct {
	n       int
	kind    Kind
	eventID string
	body    []byte
	request ServiceRequest
}

func (m Mix) sending(seed uint64, n int) (sending, error) {
	kind, of := m.resolve(seed, n)
	recordKind := kind
	if kind == Duplicate {
		recordKind = m.kind(seed, of)
	}
	s := sending{n: n, kind: kind, eventID: fmt.Sprintf("evt_%d_%d", seed, of+1), request: serviceRequest(seed, "SR", of, recordKind)}
	body, err := json.Marshal(s.request)
	if err != nil {
		return sending{}, fmt.Errorf("simulated: encode request %s: %w", s.request.RequestNo, err)
	}
	if kind == Malformed {
		body = body[:len(body)/2] // cut off in the middle
	}
	s.body = body
	return s, nil
}
