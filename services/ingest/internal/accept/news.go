package accept

import (
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/telemetry"
)

// MaxSamples bounds the record ids in an alert.
const MaxSamples = 5

// News gathers what a person should hear of arrivals that were stored together: one
// problem for each kind and code, with a count and at most MaxSamples records. It is
// one goroutine's.
type News struct {
	integration, source string
	problems            map[string]*telemetry.Problem
}

// NewNews of a source.
func NewNews(integration, source string) *News {
	return &News{integration: integration, source: source, problems: map[string]*telemetry.Problem{}}
}

// Conflict adds a record whose key came with another body.
func (n *News) Conflict(about record.Record, message string) {
	n.add(telemetry.KindConflict, fault.Duplicate, "conflict", message, about)
}

// Rejected adds a record that failed base validation, or that the integration could not judge.
func (n *News) Rejected(about record.Record, f *record.Failure) {
	kind := telemetry.KindRejected
	if f.Class == fault.Bug {
		kind = telemetry.KindIntegrationInvalid
	}
	n.add(kind, f.Class, f.Code, f.Message, about)
}

// Tell alerts each problem once.
func (n *News) Tell(alert func(telemetry.Problem)) {
	for _, p := range n.problems {
		alert(*p)
	}
}

func (n *News) add(kind telemetry.Kind, class fault.Class, code, message string, about record.Record) {
	key := string(kind) + "/" + code
	p := n.problems[key]
	if p == nil {
		repair := "waybill trace " + about.ID.String()
		if kind == telemetry.KindIntegrationInvalid {
			repair = "waybill check"
		}
		p = &telemetry.Problem{Kind: kind, Integration: n.integration, Class: class, Code: code, Where: n.source, Message: message, Repair: repair}
		n.problems[key] = p
	}
	p.Count++
	if len(p.Records) < MaxSamples {
		p.Records = append(p.Records, about.ID.String())
	}
}
