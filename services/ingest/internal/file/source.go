package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/ingest/internal/accept"
	"waybill.internal/services/ingest/internal/formats"
	"waybill.internal/services/ingest/internal/remote"
	"waybill.internal/services/ingest/internal/timetable"
)

const (
	// settle is how long a file must stand unchanged to be complete, and the time
	// between follow-up looks.
	settle = time.Second
	// maxFollowUps bounds the looks between two scheduled ones; as many more follow, sweep apart:
	// a file that was begun when the schedule said so may take an hour to come.
	maxFollowUps = 60
	// maxDoze is how long the clock is trusted before it is asked again.
	maxDoze    = 30 * time.Second
	folderMode = 0o750
	doneDir    = "done"
	failedDir  = "failed"
)

// Config of New. All fields are required but Root and Spool.
type Config struct {
	Ledger    *ledger.Ledger
	Sessions  *ledger.Sessions
	Publisher *outbox.Publisher
	Acceptor  *accept.Acceptor
	Catalog   *catalog.Catalog
	Root      string // of relative directories; empty: the working directory
	Spool     string // holds copies of files that are fetched; empty: below the system's temporary folder
	Log       *zap.Logger
	Alert     func(telemetry.Problem)
	// Count is told how many rows were answered how: received, duplicate or refused.
	Count func(integration, source, answer string, rows int)
	// Heard is told that a file is there, whatever becomes of it. Nil: nobody is.
	Heard func(integration, source string)
	// Round is told how a look on the schedule goes, by its time. Nil: nobody is.
	Round func(integration, source string, run time.Time, state telemetry.RunState)
}

// Source is one place that files come to. Run is called again after a pause, one at a time.
type Source struct {
	Config
	integration string
	source      string
	file        *integration.File
	far         bool // it is no local directory
	folder      string
	relative    bool
	timetable   timetable.Table
	sink        *sink                   // of reports; nil: there are none
	requests    chan ledger.FileRequest // of people, at most maxRequests
	watch       *watcher                // nil: the directory is not watched

	// What Run's goroutine knows.
	seen      map[string]*sighting // by name, of the last look
	hidden    []fs.FileInfo        // names not looked at, of the last look
	strange   map[string]bool      // names refused at the last look, so that each is logged once
	nominal   time.Time            // of the last scheduled look
	round     time.Time            // the time of the scheduled look that is next; zero: it is none
	followUps int
	idleLooks int                 // looks in a row that were full and took nothing
	pulled    *ledger.FileRequest // the request that ended a nap
	request   int64               // the one that is carried out, 0: none
	asked     bool                // ... and files that failed are tried again
	ended     int                 // files that ended since it began
	waiting   int                 // files that the last look had to leave
	last      remote.Entry        // of a web address: what was read last
}

// New makes a Source for each file source of the catalog. Two that watch the
// same directory with the same pattern, or a format that cannot be read, are errors.
func New(c Config) ([]*Source, error) {
	var sources []*Source
	taken := map[string]*Source{}
	for _, e := range c.Catalog.Entries() {
		for i := range e.Sources {
			if e.Sources[i].File == nil {
				continue
			}
			s, err := newSource(c, e.Name, &e.Sources[i])
			if err != nil {
				return nil, err
			}
			place := s.folder + "\x00" + s.file.Match
			if !s.far {
				place = filepath.Join(s.folder, s.file.Match)
			}
			if other := taken[place]; other != nil {
				return nil, fmt.Errorf("%s and %s both take %s of %s; give one of them another directory or pattern", other.Name(), s.Name(), s.file.Match, s.folder)
			}
			taken[place] = s
			sources = append(sources, s)
		}
	}
	return sources, nil
}

func newSource(c Config, name string, src *integration.Source) (*Source, error) {
	s := &Source{Config: c, integration: name, source: src.Name, file: src.File, far: isFar(src.File.From), seen: map[string]*sighting{}, strange: map[string]bool{},
		requests: make(chan ledger.FileRequest, maxRequests+1)}
	if s.Spool == "" {
		s.Spool = filepath.Join(os.TempDir(), "waybill-ingest")
	}
	s.Log = c.Log.With(zap.String(telemetry.FieldIntegration, name), zap.String(telemetry.FieldSource, src.Name))
	if s.folder = src.File.From; !s.far {
		s.relative = !filepath.IsAbs(filepath.FromSlash(src.File.From))
		s.folder = s.local(src.File.From)
	}
	zone, err := time.LoadLocation(src.File.Timezone)
	if err != nil {
		return nil, fmt.Errorf("%s: time zone: %w", s.Name(), err)
	}
	s.timetable = timetable.Table{Every: src.File.Every, Zone: zone}
	if err := formats.Check(&src.File.Format); err != nil {
		return nil, fmt.Errorf("%s: its format cannot be read: %w", s.Name(), err)
	}
	if src.File.Report != nil {
		if s.sink, err = newSink(s); err != nil {
			return nil, fmt.Errorf("%s: its report: %w", s.Name(), err)
		}
	}
	return s, nil
}

// Name is unique among the sources.
func (s *Source) Name() string { return "file " + s.integration + "/" + s.source }

// Run looks until ctx ends. A chunk that is under way then is still committed;
// the rest of its file is read by whoever looks next.
func (s *Source) Run(ctx context.Context) error {
	if !s.far && s.file.Arrival {
		s.watch = newWatcher(s.folder, s.Log)
		defer s.watch.close()
	}
	if s.sink != nil {
		defer s.sink.close()
	}
	s.nominal = s.timetable.Wall(s.Ledger.Now())
	for ctx.Err() == nil {
		s.watch.add(s.Log) // before the look: what comes during it is told
		s.tellRound(telemetry.RunBegun)
		pending, err := s.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.tellRound(telemetry.RunFailed)
			s.troubled(err)
		} else {
			s.tellRound(telemetry.RunDone)
		}
		if !s.waitForLook(ctx, pending) {
			return nil
		}
	}
	return nil
}

// waitForLook is false when ctx ended first. Until then it answers requests,
// and delivers reports.
func (s *Source) waitForLook(ctx context.Context, pending bool) bool {
	now := s.Ledger.Now()
	at, nominal := s.timetable.Next(now, s.nominal)
	scheduled := true
	if follow, more := s.followUp(); more && pending && (at.IsZero() || at.Sub(now) > follow) {
		at, scheduled = now.Add(follow), false
	}
	if s.file.Arrival && (at.IsZero() || at.Sub(now) > sweep) {
		at, scheduled, s.followUps = now.Add(sweep), false, 0
	}
	for ctx.Err() == nil {
		s.deliver(ctx)
		left := at.Sub(s.Ledger.Now())
		if !at.IsZero() && left <= 0 {
			break
		}
		if at.IsZero() || left > maxDoze {
			left = maxDoze
		}
		switch s.nap(ctx, left) {
		case stopped:
			return false
		case requested:
			s.answer(ctx, *s.pulled)
			continue
		case changedDir:
			s.followUps, s.round = 0, time.Time{}
			return true
		}
	}
	if ctx.Err() != nil {
		return false
	}
	if scheduled {
		s.nominal, s.followUps, s.round = nominal, 0, at
	} else {
		s.followUps++
		s.round = time.Time{}
	}
	return true
}

// followUp is the time to the next look for what was not whole; false: there is none before the scheduled one.
func (s *Source) followUp() (after time.Duration, more bool) {
	if s.followUps < maxFollowUps {
		return s.standing(), true
	}
	return max(s.standing(), sweep), s.followUps < 2*maxFollowUps
}

// tellRound tells how the look goes, if it is one on the schedule.
func (s *Source) tellRound(state telemetry.RunState) {
	if s.Round != nil && !s.round.IsZero() {
		s.Round(s.integration, s.source, s.round, state)
	}
}

// hear tells that the partner has left a file.
func (s *Source) hear() {
	if s.Heard != nil {
		s.Heard(s.integration, s.source)
	}
}

// troubled tells of what kept a file from being read and is not its fault.
func (s *Source) troubled(err error) {
	f := fault.Of(err)
	code := f.Code
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = "directory_missing"
	case errors.Is(err, fs.ErrPermission):
		code = "permission"
	}
	s.Log.Warn("files could not be taken; they are tried again at the next look", zap.Error(err))
	if errors.Is(err, errSessionEnded) {
		return // the ledger is away, which others tell
	}
	s.Alert(telemetry.Problem{Kind: telemetry.KindPart, Integration: s.integration, Class: f.Class, Code: code, Where: s.source,
		Message: "files could not be taken and are tried again: " + err.Error(), Repair: "waybill doctor"})
}
