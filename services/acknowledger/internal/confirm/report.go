package confirm

import (
	"fmt"

	"go.uber.org/zap"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/telemetry"
)

// The results that Reporter.Count is told of.
const (
	ResultConfirmed   = "confirmed"
	ResultUnconfirmed = "unconfirmed" // told again later
	ResultGaveUp      = "gave_up"
	ResultPutBack     = "put_back" // not sent, because the partner frees no room
	ResultLate        = "late"     // somebody else had settled it
)

// maxSamples is how many record ids an alert names.
const maxSamples = 5

// Reporter tells people and metrics what came of tries.
type Reporter struct {
	Count func(integration, result string, n int)
	Alert func(telemetry.Problem)
	Log   *zap.Logger
}

// Told reports the settlements of one answer.
func (r Reporter) Told(name string, settled []ledger.Settled, settlements []ledger.Settlement) {
	counts := map[string]int{}
	failures := map[string]record.Failure{}
	var gone []string
	var last record.Failure // of an outcome that was given up on
	for i, s := range settled {
		f := settlements[i].History.Failure
		result := resultOf(s, f)
		counts[result]++
		if f.Class != record.ClassNone {
			failures[string(f.Class)+"/"+f.Code] = f
		}
		if result == ResultGaveUp {
			last = f
			gone = append(gone, s.Record.ID.String())
		}
	}
	for result, n := range counts {
		r.Count(name, result, n)
	}
	for _, f := range failures { // one for most answers; a handful at most
		r.failed(name, f, len(settled))
	}
	if n := counts[ResultGaveUp]; n > 0 {
		// No class and no code: whatever the last tries met, it is one problem.
		r.Alert(telemetry.Problem{Kind: telemetry.KindPartnerGaveUp, Integration: name, Where: "acknowledge", Count: n, Records: gone[:min(len(gone), maxSamples)],
			Message: fmt.Sprintf("gave up on the partner: it has not confirmed final statuses in time; the last try met %s: %s", last.Code, last.Message),
			Repair:  "waybill dead requeue --kind unacknowledged --integration " + name})
	}
}

// failed logs a failed try, and alerts where waiting will not mend it.
func (r Reporter) failed(name string, f record.Failure, n int) {
	r.Log.Info("the partner has not confirmed final statuses", zap.String(telemetry.FieldIntegration, name), zap.String(telemetry.FieldClass, string(f.Class)),
		zap.String(telemetry.FieldCode, f.Code), zap.String(telemetry.FieldReason, f.Message), zap.Int(telemetry.FieldCount, n))
	p := telemetry.Problem{Integration: name, Class: f.Class, Code: f.Code, Where: "acknowledge", Count: n, Message: f.Message, Repair: "waybill check"}
	switch {
	case f.Class == fault.Credentials:
		p.Kind = telemetry.KindCredentials
	case f.Code == integration.CodeExpression:
		p.Kind = telemetry.KindIntegrationInvalid
	default:
		return
	}
	r.Alert(p)
}

func resultOf(s ledger.Settled, f record.Failure) string {
	switch {
	case !s.Held:
		return ResultLate
	case s.Record.Outcome.State == record.Acknowledged:
		return ResultConfirmed
	case s.Record.Outcome.State == record.Unacknowledged:
		return ResultGaveUp
	case f.Code == CodePartnerBusy:
		return ResultPutBack
	default:
		return ResultUnconfirmed
	}
}
