package poll

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
)

// maxPage bounds one answer, in bytes, also decompressed.
const maxPage = 16 << 20

// failed is a request that brought nothing; its fault says what that means.
type failed struct {
	fault  *fault.Error
	seen   *ledger.Interaction // nil when nothing left
	status int                 // 0 without an answer
}

func (f *failed) Error() string { return f.fault.Error() }

func (f *failed) Unwrap() error { return f.fault }

// answered is an answer of 2xx.
type answered struct {
	egress.Response
	tracking [16]byte
	seen     ledger.Interaction
}

// ask makes one request under the source's rate.
func (s *Source) ask(ctx context.Context, config *integration.Poll, rendered integration.Rendered) (answered, error) {
	if err := s.pace.Wait(ctx); err != nil {
		return answered{}, fault.Wrap(err, fault.System, "stopped", "the turn ended while it waited for the source's rate")
	}
	if err := config.Auth.Apply(rendered.Header); err != nil {
		return answered{}, &failed{fault: fault.Wrap(err, fault.Credentials, "secret_unreadable", "the credentials of the poll cannot be read: %v", err)}
	}
	at := s.Ledger.Now()
	response, call, err := s.client.Do(ctx, egress.Request{Method: rendered.Method, URL: rendered.URL, Header: rendered.Header, Body: rendered.Body})
	seen := ledger.CallInteraction("call", call, at)
	seen.Integration = s.integration
	if err != nil {
		return answered{}, &failed{fault: fault.Of(err), seen: &seen}
	}
	if f := judge(response, time.Now()); f != nil {
		return answered{}, &failed{fault: f, seen: &seen, status: response.Status}
	}
	return answered{Response: response, tracking: call.TrackingID, seen: seen}, nil
}

// judge says what is wrong with an answer, nil if it is a page.
func judge(r egress.Response, now time.Time) *fault.Error {
	f := fault.FromHTTP(r.Status, r.Header, true, now)
	switch {
	case f == nil:
		return nil
	case r.Status == http.StatusForbidden && limited(r.Header):
		f = fault.New(fault.System, "http_403", "answered 403 because of its rate limit; lower rate, or poll less often")
		f.RetryAfter, _ = fault.RetryAfter(r.Header, now)
	case r.Status == http.StatusForbidden: // here no single record is to blame
		f = fault.New(fault.Credentials, "forbidden", "answered 403: these credentials may not read the list")
	case f.Class == fault.Credentials && r.Status < 400:
		f.Message = fmt.Sprintf("answered %d: redirects are not followed; put the final address into the poll's url", r.Status)
	case f.Class == fault.Credentials:
		f.Message = fmt.Sprintf("answered %d: the poll's credentials are not accepted", r.Status)
	case f.Class == fault.Duplicate:
		f = fault.New(fault.System, "http_409", "answered 409 to a poll")
	case f.Class == fault.Data:
		f.Message = fmt.Sprintf("answered %d: the request of the poll is not understood; see its url, query and body", r.Status)
	}
	if limited(r.Header) && f.Class == fault.System {
		f.RetryAfter = max(f.RetryAfter, untilReset(r.Header, now))
	}
	return f
}

// limited tells whether the answer says that a quota is used up; some say so with 403.
func limited(h http.Header) bool {
	return h.Get("Retry-After") != "" || h.Get("X-RateLimit-Remaining") == "0"
}

// untilReset reads the time at which a used-up quota is filled again, in seconds
// since 1970, by the answer's own clock where it tells it.
func untilReset(h http.Header, now time.Time) time.Duration {
	if h.Get("X-RateLimit-Remaining") != "0" {
		return 0
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(h.Get("X-RateLimit-Reset")), 10, 64)
	if err != nil || seconds <= 0 || seconds > 1<<40 {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(time.Unix(seconds, 0).Sub(now), 0), fault.MaxRetryAfter)
}

// render makes the request for the page at a place.
func render(config *integration.Poll, r *run) (integration.Rendered, error) {
	if r.Next.URL != "" {
		rendered, err := config.NextRequest(r.Next.URL)
		if err != nil {
			return rendered, fault.Wrap(err, fault.Data, "next_page", "%v", err)
		}
		return rendered, nil
	}
	rendered, err := config.Request(integration.PollEnv{Since: r.Since, Until: r.Until, Cursor: r.Next.Cursor, Page: r.Next.Page + 1, Offset: r.Next.Offset})
	if err != nil {
		return rendered, fault.Wrap(err, fault.Bug, "expression", "the request of the poll cannot be made: %v", err)
	}
	return rendered, nil
}
