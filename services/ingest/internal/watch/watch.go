package watch

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/provider"
	"waybill.internal/pkg/signature"
	"waybill.internal/pkg/telemetry"
)

const (
	// Flush is the time between two notes in the ledger.
	Flush = 2 * time.Second
	// Look is the time between two questions to the ledger for what is paused; a
	// pause is seen by every ingest within 2 s.
	Look = time.Second
	// Judge is the least time between two judgements of a source, over all ingests.
	Judge = 5 * time.Second
	// callTimeout bounds one transaction of the ledger; a question for pauses must
	// leave time for another one within the 2 s.
	callTimeout = 10 * time.Second
	lookTimeout = 900 * time.Millisecond
	// maxSampled bounds the right bodies, and the wrong ones, whose fields are looked
	// at between two notes of one source; the others are only counted.
	maxSampled = 50
)

// Config of New. All fields are required.
type Config struct {
	Ledger  *ledger.Ledger
	Catalog *catalog.Catalog
	Log     *zap.Logger
	// Uses lists when secrets last proved a request to this process: the source is
	// "integration/source", the index that of the secret there.
	Uses func() []provider.Use
	// Alert tells of a trouble that begins, Resolved of one that has ended. Neither may wait.
	Alert    func(telemetry.Problem)
	Resolved func(telemetry.Problem)
	CheckIn  func(telemetry.CheckIn)
}

// Watch is safe for concurrent use.
type Watch struct {
	Config
	namer   namer
	names   []ledger.SourceName
	kinds   []string
	sources map[ledger.SourceName]*source // fixed by New
	ready   bool                          // the sources have their rows; Run's alone
	noted   map[provider.Use]bool         // uses that the ledger has; Run's alone
}

// source is one of the catalog.
type source struct {
	about
	schedule telemetry.CheckIn // its monitor; without a schedule there is none
	gate     gate

	mu      sync.Mutex
	note    ledger.SourceNote
	seen    fields
	sampled int // wrong bodies looked at since the last note; the right ones are seen.Usual.Bodies
}

// New watches the sources that the catalog has now.
func New(c Config) *Watch {
	w := &Watch{Config: c, namer: newNamer(), sources: map[ledger.SourceName]*source{}, noted: map[provider.Use]bool{}}
	for _, e := range c.Catalog.Entries() {
		for i := range e.Sources {
			s := newSource(ledger.SourceName{Integration: e.Name, Source: e.Sources[i].Name}, &e.Sources[i])
			w.sources[s.name] = s
		}
	}
	w.names = sortedNames(w.sources)
	for _, n := range w.names {
		w.kinds = append(w.kinds, w.sources[n].kind)
	}
	return w
}

func newSource(name ledger.SourceName, s *integration.Source) *source {
	out := &source{about: about{name: name, expect: s.Expect(), zone: time.UTC}, note: ledger.SourceNote{SourceName: name}}
	out.gate.open = make(chan struct{})
	close(out.gate.open)
	out.gate.shut = make(chan struct{})
	zone := ""
	switch {
	case s.Webhook != nil:
		out.kind, out.scheme, out.secrets = "webhook", s.Webhook.Verify.Scheme, secretNames(s.Webhook.Verify.Secrets)
	case s.File != nil:
		out.kind, zone = "file", s.File.Timezone
		out.schedule = telemetry.CheckIn{Crontab: s.File.Every.String()}
	case s.Poll != nil:
		out.kind, zone = "poll", s.Poll.Timezone
		out.schedule = telemetry.CheckIn{Crontab: s.Poll.Every.Schedule.String(), Every: s.Poll.Every.Every}
	case s.Kafka != nil:
		out.kind = "kafka"
	}
	if known, err := time.LoadLocation(zone); err == nil { // an unknown one is refused when the file is read
		out.zone = known
	}
	out.schedule.Timezone = out.zone.String()
	out.schedule.Monitor = "waybill-" + name.Integration + "-" + name.Source
	return out
}

func (w *Watch) source(integration, name string) *source {
	return w.sources[ledger.SourceName{Integration: integration, Source: name}]
}

// Count notes how many arrivals were answered how: received and duplicate ones are
// signs of life.
func (w *Watch) Count(integration, source, answer string, n int) {
	if n > 0 && (answer == "received" || answer == "duplicate") {
		w.Heard(integration, source)
	}
}

// Heard notes that something came from the partner.
func (w *Watch) Heard(integration, source string) {
	if s := w.source(integration, source); s != nil {
		now := w.Ledger.Now()
		s.mu.Lock()
		s.note.Heard = now
		s.mu.Unlock()
	}
}

// Seen notes an arrival that base validation judged: its body, nil if it could not
// be read as one, and what is wrong with it.
func (w *Watch) Seen(from, name string, body any, problems []integration.Problem) {
	s := w.source(from, name)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note.Arrivals++
	if len(problems) == 0 {
		if s.seen.Usual.Bodies < maxSampled {
			s.seen.Usual.add(body, w.namer)
		}
		return
	}
	s.note.Rejected++
	if s.sampled++; s.sampled > maxSampled {
		return
	}
	if body != nil {
		s.seen.Now.Fields.add(body, w.namer)
	}
	for i, p := range problems {
		if i == maxReasons {
			break
		}
		s.seen.Now.because(w.namer.reason(p), 1)
	}
}

// reason is where and what, without what may be a value.
func (n namer) reason(p integration.Problem) string {
	if p.Pointer == "" {
		return p.Code
	}
	parts := strings.Split(p.Pointer, "/")
	for i := 1; i < len(parts); i++ {
		parts[i] = n.name(parts[i])
	}
	return strings.Join(parts, "/") + " " + p.Code
}

// Unproven notes a request that was refused because of its proof. Only one whose
// signature or key is there and fits no secret counts.
func (w *Watch) Unproven(integration, source string, refused *provider.Error) {
	s := w.source(integration, source)
	if s == nil || (refused.Code != signature.BadSignature && refused.Code != provider.BadKey) {
		return
	}
	s.mu.Lock()
	s.note.Unproven++
	s.mu.Unlock()
}

// Run notes and judges until ctx ends, and notes once more what came until then.
func (w *Watch) Run(ctx context.Context) error {
	if len(w.names) == 0 {
		<-ctx.Done()
		return nil
	}
	var looking sync.WaitGroup
	looking.Go(func() { w.lookForPauses(ctx) }) // ends with ctx
	defer looking.Wait()
	flush, judge := time.NewTicker(Flush), time.NewTicker(Judge)
	defer flush.Stop()
	defer judge.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
			defer cancel()
			w.flushed(last)
			return nil
		case <-flush.C:
			w.flushed(ctx)
		case <-judge.C:
			w.judged(ctx)
		}
	}
}

func (w *Watch) judged(ctx context.Context) {
	if err := w.JudgeNow(ctx); err != nil && ctx.Err() == nil {
		w.Log.Warn("the sources could not be judged; it is tried again", zap.Error(err))
	}
}

func (w *Watch) flushed(ctx context.Context) {
	if err := w.FlushNow(ctx); err != nil && ctx.Err() == nil {
		w.Log.Warn("what the sources did could not be noted; it is kept and tried again", zap.Error(err))
	}
}

// JudgeNow judges the sources whose turn it is, and tells what began and what ended.
func (w *Watch) JudgeNow(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	windows := ledger.SourceWindows{Every: Judge - Judge/10, Recent: Recent, Burst: Burst}
	return w.Ledger.JudgeSources(call, w.names, windows, func(s *ledger.SourceState) {
		for _, v := range w.sources[s.SourceName].judge(s) {
			if v.over {
				w.Log.Info("a trouble of a source is over", zap.String(telemetry.FieldKind, string(v.problem.Kind)), zap.Stringer(telemetry.FieldSource, s.SourceName),
					zap.String(telemetry.FieldReason, v.problem.Message))
				w.Resolved(v.problem)
				continue
			}
			w.Alert(v.problem)
		}
	})
}
