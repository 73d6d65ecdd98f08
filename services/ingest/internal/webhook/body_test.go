package webhook

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
)

// timedWriter remembers the deadline for the answer.
type timedWriter struct {
	*httptest.ResponseRecorder
	until time.Time
}

func (w *timedWriter) SetWriteDeadline(t time.Time) error { w.until = t; return nil }

// TestNoRoom: a body for which there is no room is told to come again, with a deadline
// of its own for the answer, and takes nothing with it.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	const length = 3*budgetStep - 1
	h := &Handler{log: zap.NewNop(), count: func(string, string, string) {}, budget: semaphore.NewWeighted(2 * budgetStep)}
	x := &exchange{Handler: h, r: httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/in/a", strings.NewReader(strings.Repeat("x", length))),
		entry: catalog.Entry{Integration: &integration.Integration{Name: "a"}}, source: &integration.Source{Name: "a", Webhook: &integration.Webhook{MaxBody: 1 << 20}},
		gate: &gate{share: semaphore.NewWeighted(bodyShare)}}
	w := &timedWriter{ResponseRecorder: httptest.NewRecorder()}
	x.w = w
	if _, ok := x.read(); ok {
		t.Fatal("there was room for it")
	}
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("answer %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if w.until.IsZero() {
		t.Error("the answer has the deadline of the header")
	}
	if !h.budget.TryAcquire(2*budgetStep) || !x.gate.share.TryAcquire(bodyShare) {
		t.Error("what was taken for the body is not given back")
	}
}
