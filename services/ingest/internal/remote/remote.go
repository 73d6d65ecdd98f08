package remote

import (
	"context"
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
)

const (
	// maxListing bounds what one listing of FTP or SFTP may send, since it is held
	// in memory: about 100,000 names.
	maxListing = 16 << 20
	// maxPages bounds what all pages of a bucket's listing may send; one page at a
	// time is in memory.
	maxPages = 64 << 20
	// maxChatter bounds what a server may send in answer to anything else.
	maxChatter = 1 << 20
	// maxName bounds a file's name, in bytes.
	maxName = 255
)

// ErrChanged says that the file is another by now than the one that was listed;
// the next List tells what it is.
var ErrChanged = errors.New("the file changed")

// Entry is a file as a server tells of it.
type Entry struct {
	Name    string // one element of a path; without control characters
	Size    int64  // bytes, -1 if the server does not say
	ModTime time.Time
	Tag     string // ETag; empty if there is none
}

// Same reports whether both are the same file with the same content, as far as
// the server tells. Only then may a transfer be continued.
func (e Entry) Same(o Entry) bool {
	return e.Name == o.Name && e.Size == o.Size && e.Tag == o.Tag && e.ModTime.Equal(o.ModTime)
}

// Store is a place where files lie. The package comment has its promises.
type Store interface {
	// List gives at most limit entries; more says that there were others.
	List(ctx context.Context, match string, limit int) (entries []Entry, more bool, err error)
	// Fetch writes the file to the end of to, whose first at bytes came by an
	// earlier Fetch of the same entry. If the transfer cannot be continued, it
	// empties to and begins anew. It gives the entry with its true size. After an
	// error, to holds what came.
	Fetch(ctx context.Context, e Entry, to *os.File, at int64) (Entry, error)
	// Move moves the file into a folder beside it, which is made if it is missing,
	// if the file is still e. A taken name gets the time.
	Move(ctx context.Context, e Entry, folder string) error
	// Delete removes the file if it is still e.
	Delete(ctx context.Context, e Entry) error
	Close() error
}

// Options of Open. Zero values take the defaults given.
type Options struct {
	Source   string        // names the source in errors: integration/source
	Log      *zap.Logger   // of names that are left out; nil: none
	Last     Entry         // web addresses: what was fetched last; unchanged since, List gives nothing
	Connect  time.Duration // until a connection stands; 10 s
	Idle     time.Duration // without a byte from the server; 30 s
	Brief    time.Duration // of any operation but Fetch; 2 min
	Transfer time.Duration // of one Fetch; 1 h
	MaxFile  int64         // bytes; 5 GiB, which is also what S3 copies at once
}

func (o *Options) defaults() {
	for field, value := range map[*time.Duration]time.Duration{
		&o.Connect: 10 * time.Second, &o.Idle: 30 * time.Second, &o.Brief: 2 * time.Minute, &o.Transfer: time.Hour,
	} {
		if *field <= 0 {
			*field = value
		}
	}
	if o.MaxFile <= 0 {
		o.MaxFile = 5 << 30
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
}

// Open gives the store that f.From names. It reads the secrets, so that rotated
// ones are taken up by the next Open, and connects to nothing yet.
func Open(ctx context.Context, f *integration.File, o Options) (Store, error) {
	o.defaults()
	s, err := newSite(f, o)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, s.failed("open", "", err)
	}
	switch s.url.Scheme {
	case "http", "https":
		return openWeb(s)
	case "ftp", "ftps":
		return openFTP(s)
	case "sftp":
		return openSFTP(s)
	case "s3":
		return openBucket(s)
	}
	return nil, fault.New(fault.Bug, "no_transport", "source %s: %q names no place that is reached over the network", o.Source, f.From)
}

// ours reports whether a file of this name is to be listed. Names that could mean
// something else than a file of this folder are logged and left out.
func (s *site) ours(name, match string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".part") {
		return false
	}
	if matches, err := path.Match(match, name); err != nil || !matches {
		return false
	}
	if !plain(name) {
		s.options.Log.Warn("a file with this name is not taken; ask the partner for a name without slashes, control characters and so on",
			zap.String("source", s.options.Source), zap.String("host", s.host), zap.String("file", shown(name)))
		return false
	}
	return true
}

// plain reports whether a name is one element of a path for every server and for
// every protocol: a line break would be a command of FTP.
func plain(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= maxName &&
		!strings.ContainsAny(name, `/\`) && !strings.ContainsFunc(name, unicode.IsControl)
}

// shown is a name for logs and errors: one bounded line.
func shown(name string) string {
	const longest = 100
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(name, "\uFFFD"))
	if utf8.RuneCountInString(name) > longest {
		name = string([]rune(name)[:longest]) + "…"
	}
	return name
}

// firstOf sorts the entries and cuts them to limit.
func firstOf(entries []Entry, limit int) ([]Entry, bool) {
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	if len(entries) > limit {
		return slices.Clone(entries[:max(limit, 0)]), true
	}
	return entries, false
}

// numbered gives the names to try for a file that is moved: its own, then with
// the time of the move. maxNumbers bounds those that follow.
func numbered(name string, now time.Time) []string {
	const maxNumbers = 8
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	names := []string{name}
	for n := range maxNumbers {
		at := now.Add(time.Duration(n) * time.Millisecond)
		names = append(names, stem+"-"+at.UTC().Format("20060102T150405.000Z")+ext)
	}
	return names
}
