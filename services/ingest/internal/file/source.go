package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/outbox"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/ingest/internal/accept"
	"waybill.internal/services/ingest/internal/csvrows"
)

const (
	// settle is how long a file must stand unchanged to be complete, and the time
	// between follow-up looks.
	settle = time.Second
	// maxFollowUps bounds the looks between two scheduled ones.
	maxFollowUps = 60
	// maxDoze is how long the clock is trusted before it is asked again.
	maxDoze    = 30 * time.Second
	folderMode = 0o750
	doneDir    = "done"
	failedDir  = "failed"
)

// Config of New. All fields are required but Root.
type Config struct {
	Ledger    *ledger.Ledger
	Sessions  *ledger.Sessions
	Publisher *outbox.Publisher
	Acceptor  *accept.Acceptor
	Catalog   *catalog.Catalog
	Root      string // of relative directories; empty: the working directory
	Log       *zap.Logger
	Alert     func(telemetry.Problem)
	// Count is told how many rows were answered how: received, duplicate or refused.
	Count func(integration, source, answer string, rows int)
}

// Source is one watched directory. Run is called once.
type Source struct {
	Config
	integration string
	source      string
	file        *integration.File
	options     csvrows.Options
	folder      string
	relative    bool
	timetable   timetable

	// What Run's goroutine knows.
	seen      map[string]*sighting // by name, of the last look
	hidden    []fs.FileInfo        // names not looked at, of the last look
	strange   map[string]bool      // names refused at the last look, so that each is logged once
	heard     time.Time            // when the last file was found, by the ledger's clock
	nominal   time.Time            // of the last scheduled look
	followUps int
	idleLooks int // looks in a row that were full and took nothing
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
			place := filepath.Join(s.folder, s.file.Match)
			if other := taken[place]; other != nil {
				return nil, fmt.Errorf("%s and %s both take %s; give one of them another directory or pattern", other.Name(), s.Name(), place)
			}
			taken[place] = s
			sources = append(sources, s)
		}
	}
	return sources, nil
}

func newSource(c Config, name string, src *integration.Source) (*Source, error) {
	s := &Source{Config: c, integration: name, source: src.Name, file: src.File, seen: map[string]*sighting{}, strange: map[string]bool{}}
	s.Log = c.Log.With(zap.String(telemetry.FieldIntegration, name), zap.String(telemetry.FieldSource, src.Name))
	s.folder = filepath.FromSlash(src.File.From)
	if s.relative = !filepath.IsAbs(s.folder); s.relative {
		s.folder = filepath.Join(c.Root, s.folder)
	}
	zone, err := time.LoadLocation(src.File.Timezone)
	if err != nil {
		return nil, fmt.Errorf("%s: time zone: %w", s.Name(), err)
	}
	s.timetable = timetable{every: src.File.Every, zone: zone}
	if src.File.Format.CSV == nil {
		return nil, fmt.Errorf("%s: only csv files can be read", s.Name())
	}
	s.options = optionsOf(src.File.Format.CSV)
	if _, err := csvrows.NewReader(strings.NewReader(""), s.options); err != nil {
		return nil, fmt.Errorf("%s: its format cannot be read: %w", s.Name(), err)
	}
	return s, nil
}

func optionsOf(c *integration.CSV) csvrows.Options {
	delimiter, _ := utf8.DecodeRuneInString(c.Delimiter)
	return csvrows.Options{Delimiter: delimiter, Charset: c.Charset, Header: c.Header, Columns: c.Columns, MaxRowBytes: maxBody}
}

// Name is unique among the sources.
func (s *Source) Name() string { return "file " + s.integration + "/" + s.source }

// Run looks into the directory until ctx ends. A chunk that is under way then
// is still committed; the rest of its file is read by whoever looks next.
func (s *Source) Run(ctx context.Context) error {
	s.nominal = s.timetable.wall(s.Ledger.Now())
	for ctx.Err() == nil {
		pending, err := s.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.troubled(err)
		}
		if !s.waitForLook(ctx, pending) {
			return nil
		}
	}
	return nil
}

// waitForLook is false when ctx ended first.
func (s *Source) waitForLook(ctx context.Context, pending bool) bool {
	now := s.Ledger.Now()
	at, nominal := s.timetable.next(now, s.nominal)
	scheduled := true
	if pending && s.followUps < maxFollowUps && (at.IsZero() || at.Sub(now) > settle) {
		at, scheduled = now.Add(settle), false
	}
	for {
		s.checkSilence()
		left := at.Sub(s.Ledger.Now())
		if !at.IsZero() && left <= 0 {
			break
		}
		if at.IsZero() || left > maxDoze {
			left = maxDoze
		}
		if s.file.Expect > 0 && !s.heard.IsZero() {
			left = min(left, s.heard.Add(s.file.Expect).Sub(s.Ledger.Now()))
		}
		if !sleep(ctx, left) {
			return false
		}
	}
	if scheduled {
		s.nominal, s.followUps = nominal, 0
	} else {
		s.followUps++
	}
	return true
}

// checkSilence tells a person that no file came for as long as the integration
// expects one, once each such time. What was heard last before this process is
// read off the folders that files are moved to.
func (s *Source) checkSilence() {
	if s.file.Expect == 0 || s.heard.IsZero() || s.Ledger.Now().Sub(s.heard) < s.file.Expect {
		return
	}
	s.heard = s.Ledger.Now()
	s.Alert(telemetry.Problem{Kind: telemetry.KindSilence, Integration: s.integration, Code: "no_file", Where: s.source,
		Message: fmt.Sprintf("no file came for %s; ask the partner, and see whether the directory is the one that is written to", s.file.Expect),
		Repair:  "waybill doctor"})
}

func (s *Source) heardBefore(root *os.Root) time.Time {
	heard := time.Time{}
	for _, dir := range []string{doneDir, failedDir} {
		if info, err := root.Lstat(dir); err == nil && info.IsDir() && info.ModTime().After(heard) {
			heard = info.ModTime()
		}
	}
	if now := s.Ledger.Now(); heard.IsZero() || heard.After(now) {
		return now
	}
	return heard
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

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
