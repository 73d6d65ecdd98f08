package poll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/telemetry"
)

// end gives the source back, by what became of the turn.
func (t *turn) end(ended bool, err error) error {
	if errors.Is(err, ledger.ErrPollLost) {
		t.Log.Warn("another session polls this source now")
		return nil
	}
	if errors.Is(err, errSessionEnded) {
		return err
	}
	if t.mark.Run != nil && t.mark.Run.Missed > 0 {
		t.tellMissed()
	}
	began := t.began()
	end := t.outcome(ended, err)
	if m, ok := end.Mark.(mark); ok && m.Run != nil {
		m.Run.Counted = true
	}
	ctx, cancel := context.WithTimeout(t.session.Context(), callTimeout)
	defer cancel()
	err = t.Ledger.EndPoll(ctx, t.session.ID, t.poll, end)
	if errors.Is(err, ledger.ErrPollLost) {
		t.Log.Warn("another session polls this source now")
		return nil
	}
	if err == nil && end.Ended {
		t.Runs(t.integration, t.source, "done")
		t.round(began, telemetry.RunDone)
		t.Log.Info("a poll has ended", zap.Int("pages", t.pages), zap.Int("received", t.received), zap.Time("known_until", t.mark.High))
	}
	return err
}

func (t *turn) outcome(ended bool, err error) ledger.PollEnd {
	now := t.Ledger.Now()
	switch {
	case err == nil && ended:
		began := t.mark.Run.Began
		if t.unsettled {
			t.mark.Run = nil
		} else {
			t.mark.end(t.config)
		}
		return ledger.PollEnd{Mark: t.mark, Wait: t.until(began, now), Reached: t.mark.High, Ended: true}
	case err == nil: // what is left comes with the next run
		return ledger.PollEnd{Mark: t.mark, Wait: t.until(t.poll.Now, now)}
	case t.ctx.Err() != nil: // the process stops: who takes it up goes on
		return ledger.PollEnd{Mark: t.back(), Failures: t.poll.Failures}
	}
	return t.failure(err)
}

// until is the wait for the next turn; that of a range is due at once.
func (t *turn) until(began, now time.Time) time.Duration {
	if t.poll.Request != 0 {
		return 0
	}
	next := nextRun(t.config.Every, t.zone, began, now)
	if next.IsZero() { // a schedule that never comes again
		return fault.MaxRetryAfter
	}
	return next.Sub(now)
}

// back is the mark at the beginning of the page that failed, with what was counted since.
func (t *turn) back() mark {
	m := t.at.clone()
	if m.Run != nil && t.mark.Run != nil {
		m.Run.Missed, m.Run.Barren, m.Run.Unanswered = t.mark.Run.Missed, t.mark.Run.Barren, t.mark.Run.Unanswered
		m.Run.Fresh = max(m.Run.Fresh, t.mark.Run.Fresh)
	}
	return m
}

func (t *turn) failure(err error) ledger.PollEnd {
	f := fault.Of(err)
	end := ledger.PollEnd{Mark: t.back(), Failures: t.poll.Failures + 1, Error: f.Message}
	if own, ok := errors.AsType[*failed](err); ok && own.seen != nil {
		end.Interaction = own.seen
	}
	if f.Code == codeLoop || f.Code == codeEndless || f.Code == "place_refused" || f.Code == "next_page" {
		m := t.back()
		m.Run = nil // from since, not from a place that leads nowhere
		end.Mark = m
	} else if t.pages > 0 { // it goes on from there; this is another trouble than the last one
		end.Failures = 1
	}
	end.Wait = backoff(end.Failures, f)
	t.Runs(t.integration, t.source, "failed")
	t.Log.Warn("a poll failed and is tried again", zap.Int("failures", end.Failures), zap.Duration("wait", end.Wait), zap.String(telemetry.FieldCode, f.Code), zap.Error(err))
	if t.poll.Request != 0 && end.Failures >= maxRequestFailures {
		end.Failed = true
	}
	if slow(f) || end.Failures >= patience {
		t.round(t.began(), telemetry.RunFailed)
		t.alert(f, end.Failures)
	}
	return end
}

// alert tells a person of what keeps the source from being polled.
func (t *turn) alert(f *fault.Error, failures int) {
	kind := telemetry.KindPart
	if f.Class == fault.Credentials {
		kind = telemetry.KindCredentials
	}
	if f.Code == "expression" {
		kind = telemetry.KindIntegrationInvalid
	}
	t.Alert(telemetry.Problem{Kind: kind, Integration: t.integration, Class: f.Class, Code: "poll_" + f.Code, Where: t.source,
		Message: fmt.Sprintf("the poll cannot go on, nothing is lost, and it is tried again (failures in a row: %d): %s", failures, f.Message), Repair: "waybill poll list"})
}

// tellMissed says in one alert how many webhooks had not arrived.
func (t *turn) tellMissed() {
	n := t.mark.Run.Missed
	t.mark.Run.Missed = 0
	webhook := t.config.Missed.Webhook
	text := fmt.Sprintf("%d webhooks of %s had not arrived; they were found by the poll and are records now", n, webhook)
	if n == 1 {
		text = fmt.Sprintf("1 webhook of %s had not arrived; it was found by the poll and is a record now", webhook)
	}
	t.Log.Warn(text, zap.Strings(telemetry.FieldRecords, t.missing))
	repair := "waybill tail --integration " + t.integration
	if len(t.missing) > 0 {
		repair = "waybill trace " + t.missing[0]
	}
	t.Alert(telemetry.Problem{Kind: telemetry.KindMissedWebhooks, Integration: t.integration, Class: fault.System, Code: "missed_webhooks", Where: webhook,
		Message: text, Count: n, Records: t.missing, Repair: repair})
}
