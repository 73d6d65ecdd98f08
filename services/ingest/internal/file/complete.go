package file

import (
	"path"
	"strings"
	"time"
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
func (s *Source) markerEnds() (before, after string) {
	for _, hole := range []string{"{name}", "{stem}"} {
		if before, after, ok := strings.Cut(s.file.Complete.Marker, hole); ok {
			return before, after
		}
	}
	return s.file.Complete.Marker, ""
}

// isMarker keeps markers from being taken as files, whatever the pattern is.
func (s *Source) isMarker(name string) bool {
	if s.file.Complete.By != byMarker {
		return false
	}
	before, after := s.markerEnds()
	return len(name) > len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after)
}

// older: a marker that is older than its file was there for the one before it.
// Servers tell times in whole seconds, or in minutes; one that is not told is not older.
func older(marker, file time.Time) bool {
	return !marker.IsZero() && !file.IsZero() && marker.Unix() < file.Unix()
}
