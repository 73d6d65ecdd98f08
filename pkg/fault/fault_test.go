package fault_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"waybill.internal/pkg/fault"
)

type selfClassed struct{}

func (selfClassed) Error() string       { return "self" }
func (selfClassed) Fault() *fault.Error { return fault.New(fault.Slow, "self_classed", "slow") }

func runtimeError() (err error) {
	defer func() { err, _ = recover().(error) }()
	var list []int
	_ = list[len(os.Args)]
	return nil
}

func pg(code string) error {
	return fmt.Errorf("upsert: %w", &pgconn.PgError{Code: code, Message: "m"})
}

func TestOf(t *testing.T) {
	t.Parallel()
	own := fault.New(fault.Outage, "Breaker Open!", "crm")
	tests := []struct {
		name  string
		err   error
		class fault.Class
		code  string
	}{
		{"own", own, fault.Outage, "breaker_open"},
		{"own, wrapped", fmt.Errorf("call: %w", own), fault.Outage, "breaker_open"},
		{"own, joined", errors.Join(io.EOF, own), fault.Outage, "breaker_open"},
		{"classifies itself", fmt.Errorf("x: %w", selfClassed{}), fault.Slow, "self_classed"},
		{"runtime error", runtimeError(), fault.Bug, "runtime_error"},
		{"panic", fault.FromPanic("boom", debug.Stack()), fault.Bug, "panic"},
		{"deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), fault.System, "timeout"},
		{"canceled", context.Canceled, fault.System, "canceled"},
		{"reset", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, fault.System, "reset"},
		{"short read", io.ErrUnexpectedEOF, fault.System, "reset"},
		{"refused", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, fault.System, "connect"},
		{"dns", &net.DNSError{Name: "x", IsNotFound: true}, fault.System, "dns"},
		{"certificate", fmt.Errorf("x: %w", x509.UnknownAuthorityError{}), fault.Credentials, "tls"},
		{"deadlock", pg("40P01"), fault.System, "deadlock"},
		{"serialization", pg("40001"), fault.System, "serialization_failure"},
		{"statement timeout", pg("57014"), fault.System, "timeout"},
		{"shutdown", pg("57P01"), fault.System, "postgres_57p01"},
		{"too many connections", pg("53300"), fault.System, "postgres_53300"},
		{"lock", pg("55P03"), fault.System, "lock_not_available"},
		{"login", pg("28P01"), fault.Credentials, "postgres_28p01"},
		{"privilege", pg("42501"), fault.Credentials, "insufficient_privilege"},
		{"no such table", pg("42P01"), fault.Bug, "postgres_42p01"},
		{"too long", pg("22001"), fault.Data, "postgres_22001"},
		{"foreign key", pg("23503"), fault.Data, "postgres_23503"},
		{"no code", pg(""), fault.System, "postgres"},
		{"unknown", errors.New("?"), fault.System, "unclassified"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := fault.Of(tt.err)
			if f.Class != tt.class || f.Code != tt.code {
				t.Errorf("got %s/%s, want %s/%s", f.Class, f.Code, tt.class, tt.code)
			}
			if f.Error() == "" || f.Message == "" {
				t.Error("no text")
			}
		})
	}
	if fault.Of(nil) != nil {
		t.Error("nil has a class")
	}
}

func TestOfKeepsTheCause(t *testing.T) {
	t.Parallel()
	if err := fault.Of(fmt.Errorf("x: %w", context.Canceled)); !errors.Is(err, context.Canceled) {
		t.Error("the cause is lost")
	}
	stack := debug.Stack()
	f := fault.FromPanic(io.EOF, stack)
	if !errors.Is(f, io.EOF) || f.Stack != string(stack) {
		t.Error("a panic loses its value or stack")
	}
}

// TestPanicValueStaysInTheLog: the message goes to senders, the value may be a payload.
func TestPanicValueStaysInTheLog(t *testing.T) {
	t.Parallel()
	for want, value := range map[string]any{
		"panic of type string":              "canary",
		"panic of type *errors.errorString": errors.New("canary"),
		"panic of type []string":            []string{"canary"},
	} {
		f := fault.Of(fmt.Errorf("x: %w", fault.FromPanic(value, nil)))
		if f.Message != want || f.Class != fault.Bug {
			t.Errorf("%s (%s), want %s", f.Message, f.Class, want)
		}
		if f.Err == nil || !strings.Contains(f.Error(), "canary") {
			t.Errorf("the log does not get the value: %v", f)
		}
	}
}

func TestConnectErrorOfPostgres(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := pgconn.Connect(ctx, "postgres://u@127.0.0.1:1/d?sslmode=disable") // below every port that the system gives away
	if f := fault.Of(err); f.Class != fault.System || f.Code != "postgres_unreachable" {
		t.Errorf("got %v", f)
	}
}

func TestFromHTTP(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	tests := []struct {
		status     int
		retryAfter string
		firstTry   bool
		class      fault.Class
		code       string
		wait       time.Duration
	}{
		{200, "", true, "", "", 0},
		{204, "", true, "", "", 0},
		{299, "", true, "", "", 0},
		{301, "", true, fault.Credentials, "redirect", 0},
		{304, "", true, fault.Credentials, "redirect", 0},
		{308, "", true, fault.Credentials, "redirect", 0},
		{400, "", true, fault.Data, "http_400", 0},
		{401, "", true, fault.Credentials, "unauthorized", 0},
		{403, "", true, fault.Credentials, "forbidden", 0},
		{404, "", true, fault.Data, "http_404", 0},
		{405, "", true, fault.Data, "http_405", 0},
		{407, "", true, fault.Credentials, "unauthorized", 0},
		{408, "7", true, fault.System, "http_408", 7 * time.Second},
		{409, "", true, fault.Duplicate, "duplicate", 0},
		{409, "", false, fault.Duplicate, "duplicate_of_own_attempt", 0},
		{410, "", true, fault.Data, "http_410", 0},
		{413, "5", true, fault.Data, "http_413", 0},
		{422, "", true, fault.Data, "http_422", 0},
		{425, "", true, fault.System, "http_425", 0},
		{429, "120", true, fault.System, "http_429", 2 * time.Minute},
		{429, "99999999999999999999999", true, fault.System, "http_429", 24 * time.Hour},
		{429, "-1", true, fault.System, "http_429", 0},
		{429, "1.5", true, fault.System, "http_429", 0},
		{429, strings.Repeat("9", 200), true, fault.System, "http_429", 0},
		{500, "", true, fault.System, "http_500", 0},
		{503, in(90 * time.Second), true, fault.System, "http_503", 90 * time.Second},
		{503, in(-time.Hour), true, fault.System, "http_503", 0},
		{503, in(1000 * time.Hour), true, fault.System, "http_503", 24 * time.Hour},
		{503, "Fri, 31 Dec 9999 23:59:59 GMT", true, fault.System, "http_503", 24 * time.Hour},
		{503, "soon", true, fault.System, "http_503", 0},
		{599, "", true, fault.System, "http_599", 0},
		{100, "", true, fault.System, "bad_status", 0},
		{0, "", true, fault.System, "bad_status", 0},
		{-7, "", true, fault.System, "bad_status", 0},
		{1000, "", true, fault.System, "bad_status", 0},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d_%.20s_%t", tt.status, tt.retryAfter, tt.firstTry), func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			if tt.retryAfter != "" {
				h.Set("Retry-After", tt.retryAfter)
			}
			f := fault.FromHTTP(tt.status, h, tt.firstTry, now)
			if tt.class == "" {
				if f != nil {
					t.Fatalf("a success has the class %s", f.Class)
				}
				return
			}
			if f.Class != tt.class || f.Code != tt.code || f.RetryAfter != tt.wait {
				t.Errorf("got %s/%s/%s, want %s/%s/%s", f.Class, f.Code, f.RetryAfter, tt.class, tt.code, tt.wait)
			}
			if f.Candidate != (tt.status == 403) {
				t.Errorf("candidate = %t", f.Candidate)
			}
			if f.OwnDuplicate() != (tt.code == "duplicate_of_own_attempt") {
				t.Errorf("own duplicate = %t", f.OwnDuplicate())
			}
		})
	}
}

func TestRetryAfterUsesTheAnswersOwnClock(t *testing.T) {
	t.Parallel()
	theirs := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // years behind ours
	h := http.Header{}
	h.Set("Date", theirs.Format(http.TimeFormat))
	h.Set("Retry-After", theirs.Add(time.Minute).Format(http.TimeFormat))
	if d, ok := fault.RetryAfter(h, theirs.AddDate(6, 0, 0)); !ok || d != time.Minute {
		t.Errorf("got %s, %t", d, ok)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "5", "-5", "1e9", "Fri, 31 Dec 9999 23:59:59 GMT", "\x00", "18446744073709551616"} {
		f.Add(s, s)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value, date string) {
		h := http.Header{"Retry-After": {value}, "Date": {date}}
		d, ok := fault.RetryAfter(h, now)
		if d < 0 || d > fault.MaxRetryAfter || (!ok && d != 0) {
			t.Errorf("%q: %s, %t", value, d, ok)
		}
	})
}

func TestSnakeCase(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "unknown", "--": "unknown", "A b--C": "a_b_c", "ok_code": "ok_code", "é!": "unknown",
		strings.Repeat("ab ", 100): strings.Repeat("ab_", 21) + "a",
	} {
		if got := fault.SnakeCase(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
