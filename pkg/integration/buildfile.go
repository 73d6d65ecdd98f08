package integration

import (
	"path"
	"strings"
	"time"
)

func (b *builder) file(s *Source, at string) {
	f := s.File
	if s.Name == "" {
		s.Name = "file"
	}
	at = join(at, "file")
	b.resolve(join(at, "from"), &f.From)
	b.directory(f, at)
	if _, err := path.Match(f.Match, "x"); err != nil || strings.Contains(f.Match, "/") {
		b.wrong(join(at, "match"), "%q is no pattern for file names; write one such as *.csv", shorten(f.Match))
	}
	if _, err := time.LoadLocation(f.Timezone); err != nil || f.Timezone == "Local" {
		b.wrong(join(at, "timezone"), "%q is no time zone; write one such as UTC or Europe/Berlin", shorten(f.Timezone))
	}
	b.format(&f.Format, join(at, "format"))
	b.completion(f, at)
	b.comparison(s, at)
	b.report(f, at)
}

func (b *builder) completion(f *File, at string) {
	c := &f.Complete
	marker := strings.NewReplacer("{name}", "x", "{stem}", "x").Replace(c.Marker)
	if f.Every.String() == "" && !f.Arrival && !b.refused(at) {
		b.wrong(at, "nothing says when to look; add every with a cron expression, or on_arrival: true")
	}
	switch {
	case c.By == "marker" && c.Marker == "":
		b.wrong(join(at, "complete"), "the marker's name is missing; write one such as \"{name}.done\"")
	case c.By != "marker" && c.Marker != "":
		b.wrong(join(at, "complete.marker"), "a marker belongs to by: marker; write that, or remove it")
	case c.Marker != "" && (marker == c.Marker || c.Marker == "{name}" || strings.ContainsAny(marker, "/\\{}\x00*?[")):
		b.wrong(join(at, "complete.marker"), "%q does not name a second file; write {name} or {stem} with more around it, such as {name}.done", shorten(c.Marker))
	}
	b.resolve(join(at, "archive"), &f.Archive)
	switch {
	case strings.Contains(f.Archive, "://"):
		b.wrong(join(at, "archive"), "%q is no directory; write a path", shorten(f.Archive))
	case f.Archive != "" && path.Clean(f.Archive) == path.Clean(f.From):
		b.wrong(join(at, "archive"), "copies would be taken as files; choose another directory than from")
	}
}

// comparison checks what is needed to tell a row's entity and its versions.
func (b *builder) comparison(s *Source, at string) {
	f := s.File
	if f.Ordered() && b.in.Record.EntityKey == nil {
		key, value := "unchanged", f.Unchanged
		if f.Mode == "snapshot" {
			key, value = "mode", f.Mode
		}
		b.wrong(join(at, key), "%s: %s needs to know what a row is about; add record.entity_key", key, value)
	}
	if f.Mode == "snapshot" && s.IdempotencyKey == nil && b.in.Record.IdempotencyKey != nil {
		b.wrong(join(at, "mode"), "record.idempotency_key would take the second version of an entity in a snapshot for a duplicate; move it to the sources that it is meant for")
	}
	if f.Snapshot == nil {
		return
	}
	if f.Mode != "snapshot" {
		b.wrong(join(at, "snapshot"), "snapshot belongs to mode: snapshot; write that, or remove it")
	}
	if !validDeleteLimit(f.Snapshot.MaxDeletes) {
		b.wrong(join(at, "snapshot.max_deletes"), "%q is no bound; write a number such as 50, or a share from 0%% to 100%% such as 10%%", shorten(f.Snapshot.MaxDeletes))
	}
}

func (b *builder) report(f *File, at string) {
	r := f.Report
	if r == nil {
		return
	}
	at = join(at, "report")
	if strings.HasPrefix(r.To, "http://") || strings.HasPrefix(r.To, "https://") || strings.Contains(r.To, "://${") {
		b.address(join(at, "to"), &r.To, false)
		b.auth(join(at, "auth"), r.Auth)
		return
	}
	b.resolve(join(at, "to"), &r.To)
	if strings.HasPrefix(r.To, "http://") || strings.HasPrefix(r.To, "https://") {
		b.address(join(at, "to"), &r.To, false)
		b.auth(join(at, "auth"), r.Auth)
		return
	}
	switch {
	case strings.Contains(r.To, "://"):
		b.wrong(join(at, "to"), "%q is neither a directory nor an http(s) address", shorten(r.To))
	case r.Auth != nil:
		b.wrong(join(at, "auth"), "a directory needs no auth; remove it")
	case r.To != "" && path.Clean(r.To) == path.Clean(f.From):
		b.wrong(join(at, "to"), "reports would be taken as files; choose another directory than from")
	}
}

// directory splits a pattern off the address and leaves a plain path.
func (b *builder) directory(f *File, at string) {
	if rest, ok := strings.CutPrefix(f.From, "file://"); ok {
		if f.From = rest; !strings.HasPrefix(rest, "/") {
			b.wrong(join(at, "from"), "a file:// URL names an absolute path; write file:///directory, or a plain path")
		}
	} else if f.Scheme() != "" {
		b.place(f, at)
		return
	}
	if f.Remote != nil {
		b.wrong(join(at, "remote"), "a directory needs no login; remove it, or write a URL into from")
	}
	if dir, last := path.Split(f.From); strings.ContainsAny(last, "*?[") {
		if f.Match != "" && f.Match != last {
			b.wrong(join(at, "match"), "from already ends in the pattern %s; remove one", shorten(last))
		}
		f.From, f.Match = path.Clean(fallback(dir, ".")), last
	}
	f.Match = fallback(f.Match, "*")
	if strings.ContainsAny(f.From, "*?[\x00") {
		b.wrong(join(at, "from"), "%q has a pattern in the directory; only the last part may be one", shorten(f.From))
	}
}
