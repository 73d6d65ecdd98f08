package file

import (
	"path"
	"strings"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/integration"
)

// The ways in which a file proves whole; stable is the default.
const (
	byMarker = "marker"
	byRename = "rename"
)

// standing is how long a file must stand unchanged.
func (s *Source) standing() time.Duration {
	if s.file.Complete.For <= 0 {
		return settle
	}
	return s.file.Complete.For
}

// markerOf names the file that says that another one is whole.
func (s *Source) markerOf(name string) string {
	return strings.NewReplacer("{name}", name, "{stem}", strings.TrimSuffix(name, path.Ext(name))).Replace(s.file.Complete.Marker)
}

// markerEnds are what stands around the name in a marker's name.
func markerEnds(f *integration.File) (before, after string) {
	for _, hole := range []string{"{name}", "{stem}"} {
		if before, after, ok := strings.Cut(f.Complete.Marker, hole); ok {
			return before, after
		}
	}
	return f.Complete.Marker, ""
}

// isMarker keeps markers from being taken as files, whatever the pattern is.
func isMarker(f *integration.File, name string) bool {
	if f.Complete.By != byMarker {
		return false
	}
	before, after := markerEnds(f)
	return len(name) > len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}

// tellStale logs once that a marker is there and does not count: somebody's clock may be wrong.
func (s *Source) tellStale(name string, seen *sighting, there bool) {
	if there && !seen.complete && !seen.stale {
		seen.stale = true
		s.Log.Warn("the file's marker is older than the file and does not count; it is waited for a newer one", zap.String("file", shown(name)), zap.String("marker", shown(s.markerOf(name))))
	}
}

// older: a marker that is older than its file was there for the one before it.
// Servers tell times in whole seconds, or in minutes; one that is not told is not older.
func older(marker, file time.Time) bool {
	return !marker.IsZero() && !file.IsZero() && marker.Unix() < file.Unix()
}
