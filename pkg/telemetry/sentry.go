package telemetry

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/getsentry/sentry-go"
)

const contextName = "waybill"

func newSentry(o AlertOptions) (*sentry.Client, error) {
	transport := o.Transport
	if transport == nil {
		transport = &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 5 * time.Second}
	}
	return sentry.NewClient(sentry.ClientOptions{
		Dsn: o.DSN.Reveal(), Release: o.Release, Environment: o.Environment, ServerName: o.ServerName,
		Tags: map[string]string{FieldService: o.Service}, HTTPTransport: transport,
		BeforeSend: func(e *sentry.Event, _ *sentry.EventHint) *sentry.Event { return allowed(e, o.Service) },
		// Integrations add machine, modules and source lines: nothing of it is on the allow-list.
		Integrations:           func([]sentry.Integration) []sentry.Integration { return nil },
		MaxBreadcrumbs:         -1,
		DisableClientReports:   true,
		DisableTelemetryBuffer: true, // its older transport is a plain bounded queue that can be flushed
	})
}

func eventOf(p Problem) *sentry.Event {
	e := sentry.NewEvent()
	e.Level = sentry.LevelError
	e.Message = title(p)
	e.Fingerprint = []string{string(p.Kind), p.Integration, string(p.Class), p.Code, p.Where}
	e.Tags = map[string]string{FieldKind: string(p.Kind), FieldIntegration: p.Integration, FieldClass: string(p.Class), FieldCode: p.Code, FieldWhere: p.Where}
	e.Contexts = map[string]sentry.Context{contextName: {
		FieldReason: p.Message, FieldRepair: p.Repair, FieldCount: p.Count, FieldRecords: p.Records,
	}}
	if p.Stack != "" {
		e.Exception = []sentry.Exception{{Type: string(p.Kind), Value: p.Message, Stacktrace: framesOf(p.Stack)}}
	}
	return e
}

func resolutionOf(p Problem) *sentry.Event {
	e := eventOf(p)
	e.Level, e.Message = sentry.LevelInfo, "resolved: "+title(p)
	return e
}

func title(p Problem) string {
	parts := []string{string(p.Kind)}
	for _, s := range []string{p.Integration, p.Where, p.Code} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " · ") + ": " + p.Message
}

// allowed builds the event anew from what may leave: whatever the SDK, or a
// later version of it, adds by itself stays here.
func allowed(e *sentry.Event, service string) *sentry.Event {
	out := sentry.NewEvent()
	out.EventID, out.Timestamp, out.Level, out.Platform, out.Sdk = e.EventID, e.Timestamp, e.Level, e.Platform, e.Sdk
	out.Release, out.Environment, out.ServerName = e.Release, e.Environment, e.ServerName
	out.Message = scrubPersonal(e.Message)
	out.Fingerprint = e.Fingerprint
	out.Tags = map[string]string{FieldService: service}
	for _, name := range []string{FieldKind, FieldIntegration, FieldClass, FieldCode, FieldWhere} {
		if v := e.Tags[name]; v != "" {
			out.Tags[name] = v
		}
	}
	if c, ok := e.Contexts[contextName]; ok {
		kept := sentry.Context{}
		for _, name := range []string{FieldReason, FieldRepair, FieldCount, FieldRecords} {
			kept[name] = c[name]
		}
		out.Contexts = map[string]sentry.Context{contextName: kept}
	}
	for _, x := range e.Exception {
		out.Exception = append(out.Exception, sentry.Exception{Type: x.Type, Value: scrubPersonal(x.Value), Stacktrace: x.Stacktrace})
	}
	return out
}

var stackLine = regexp.MustCompile(`^\t(.+):(\d+)(?: \+0x[0-9a-f]+)?$`)

// framesOf reads what runtime/debug.Stack writes; arguments are left out. At
// most 50 frames, innermost last, as Sentry wants them.
func framesOf(stack string) *sentry.Stacktrace {
	const most = 50
	var frames []sentry.Frame
	function := ""
	for line := range strings.Lines(stack) {
		line = strings.TrimRight(line, "\n")
		m := stackLine.FindStringSubmatch(line)
		if m == nil {
			function, _, _ = strings.Cut(strings.TrimPrefix(line, "created by "), "(0x")
			continue
		}
		number, err := strconv.Atoi(m[2])
		if err != nil || len(frames) == most {
			continue
		}
		frames = append(frames, sentry.Frame{Function: strings.TrimSuffix(function, "(...)"), AbsPath: m[1], Filename: m[1], Lineno: number,
			InApp: strings.Contains(function, "waybill.internal/")})
	}
	slices.Reverse(frames)
	return &sentry.Stacktrace{Frames: frames}
}
