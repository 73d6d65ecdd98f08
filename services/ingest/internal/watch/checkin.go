package watch

import (
	"time"

	"waybill.internal/pkg/telemetry"
)

// Round tells the source's monitor how a scheduled run goes, by the time for which
// it was scheduled: all ingests speak of the same run. A source without a schedule
// has no monitor.
func (w *Watch) Round(integration, name string, run time.Time, state telemetry.RunState) {
	s := w.source(integration, name)
	if s == nil || (s.schedule.Crontab == "" && s.schedule.Every == 0) {
		return
	}
	c := s.schedule
	c.Run, c.State = run, state
	w.CheckIn(c)
}
