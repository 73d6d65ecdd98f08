package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"waybill.internal/pkg/telemetry"
)

// Lookup finds a variable, as os.LookupEnv does.
type Lookup func(name string) (value string, found bool)

// maxFile bounds what is read from a NAME_FILE.
const maxFile = 64 << 10

// Settings reads typed variables and collects every mistake. It is for one
// goroutine.
type Settings struct {
	lookup   Lookup
	vars     []variable
	problems []string
}

type variable struct{ name, def, meaning string }

// NewSettings reads from lookup.
func NewSettings(lookup Lookup) *Settings { return &Settings{lookup: lookup} }

// ConfigError holds every mistake in the settings, one sentence each.
type ConfigError struct{ Problems []string }

// Error lists all problems, one a line.
func (e *ConfigError) Error() string {
	return fmt.Sprintf("the settings have %d mistake(s):\n  %s", len(e.Problems), strings.Join(e.Problems, "\n  "))
}

// Err returns a *ConfigError with all problems so far, or nil.
func (s *Settings) Err() error {
	if len(s.problems) == 0 {
		return nil
	}
	return &ConfigError{Problems: slices.Clone(s.problems)}
}

// Problem records a mistake found by the loader itself, across variables.
func (s *Settings) Problem(name, problem, fix string) {
	s.problems = append(s.problems, fmt.Sprintf("%s: %s; %s", name, problem, fix))
}

// raw declares a variable and reads it, or the file that NAME_FILE names.
func (s *Settings) raw(name, def, meaning string) (string, bool) {
	s.vars = append(s.vars, variable{name, def, meaning})
	value, found := s.lookup(name)
	path, inFile := s.lookup(name + "_FILE")
	switch {
	case found && value != "" && inFile && path != "":
		s.Problem(name, "is given both directly and by "+name+"_FILE", "remove one of the two")
	case inFile && path != "":
		text, err := readFile(path)
		if err != nil {
			s.Problem(name+"_FILE", err.Error(), "name a readable text file of at most 64 KiB that holds the value")
			return "", false
		}
		return text, text != ""
	}
	return value, found && value != "" // an empty variable is an unset one
}

func readFile(path string) (string, error) {
	info, err := os.Stat(path) // before opening: a pipe without a writer would block
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("is not a regular file")
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", errors.Unwrap(err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	if len(b) > maxFile {
		return "", errors.New("is larger than 64 KiB")
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// Require records a problem for each of these variables that has no value.
// Call it after they were read.
func (s *Settings) Require(names ...string) {
	for _, name := range names {
		value, _ := s.lookup(name)
		path, _ := s.lookup(name + "_FILE")
		if value == "" && path == "" {
			s.Problem(name, "is missing", "set it, or name a file in "+name+"_FILE")
		}
		for i := range s.vars {
			if s.vars[i].name == name {
				s.vars[i].def = "required"
			}
		}
	}
}

// read parses a variable, or returns def; the parser's error says what is
// expected. The value itself is not repeated: it may be a secret in the wrong place.
func read[T any](s *Settings, name string, def T, shown, meaning string, parse func(string) (T, error)) T {
	text, found := s.raw(name, shown, meaning)
	if !found {
		return def
	}
	v, err := parse(strings.TrimSpace(text))
	if err != nil {
		s.Problem(name, "the value cannot be used", err.Error())
		return def
	}
	return v
}

// String reads a text.
func (s *Settings) String(name, def, meaning string) string {
	return read(s, name, def, def, meaning, func(t string) (string, error) { return t, nil })
}

// OneOf reads one of some words.
func (s *Settings) OneOf(name, def, meaning string, words ...string) string {
	return read(s, name, def, def, meaning+" ("+strings.Join(words, ", ")+")", func(t string) (string, error) {
		if slices.Contains(words, t) {
			return t, nil
		}
		return "", fmt.Errorf("give one of %s", strings.Join(words, ", "))
	})
}

// Bool reads true or false.
func (s *Settings) Bool(name string, def bool, meaning string) bool {
	return read(s, name, def, strconv.FormatBool(def), meaning, func(t string) (bool, error) {
		b, err := strconv.ParseBool(t)
		if err != nil {
			return false, errors.New("give true or false")
		}
		return b, nil
	})
}

// Int reads a whole number in [low, high].
func (s *Settings) Int(name string, def, low, high int, meaning string) int {
	return read(s, name, def, strconv.Itoa(def), meaning, func(t string) (int, error) {
		n, err := strconv.Atoi(t)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("give a whole number from %d to %d", low, high)
		}
		return n, nil
	})
}

// Duration reads a duration such as 5s or 1h30m in [low, high].
func (s *Settings) Duration(name string, def, low, high time.Duration, meaning string) time.Duration {
	return read(s, name, def, def.String(), meaning, func(t string) (time.Duration, error) {
		d, err := time.ParseDuration(t)
		if err != nil || d < low || d > high {
			return 0, fmt.Errorf("give a duration from %s to %s, such as 5s or 1h30m", low, high)
		}
		return d, nil
	})
}

// Bytes reads a size such as 512, 64KiB, 1MiB or 2GiB in [low, high] bytes.
func (s *Settings) Bytes(name string, def, low, high int64, meaning string) int64 {
	return read(s, name, def, strconv.FormatInt(def, 10), meaning, func(t string) (int64, error) {
		digits, unit := t, int64(1)
		for suffix, factor := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
			if d, ok := strings.CutSuffix(t, suffix); ok {
				digits, unit = strings.TrimSpace(d), factor
			}
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > high/unit || n*unit < low {
			return 0, fmt.Errorf("give a size from %d to %d bytes, such as 512, 64KiB or 1MiB", low, high)
		}
		return n * unit, nil
	})
}

// Secret reads a value that nothing prints.
func (s *Settings) Secret(name, meaning string) telemetry.Secret {
	text, _ := s.raw(name, "", meaning)
	return telemetry.NewSecret(text)
}

// List reads words separated by commas; blanks around them are left out.
func (s *Settings) List(name string, def []string, meaning string) []string {
	return read(s, name, def, strings.Join(def, ","), meaning, func(t string) ([]string, error) {
		var words []string
		for w := range strings.SplitSeq(t, ",") {
			if w = strings.TrimSpace(w); w == "" {
				return nil, errors.New("give values separated by single commas")
			}
			words = append(words, w)
		}
		return words, nil
	})
}

// URL reads an absolute URL with one of the schemes; "" when unset and def is "".
func (s *Settings) URL(name, def, meaning string, schemes ...string) string {
	return read(s, name, def, def, meaning, func(t string) (string, error) {
		u, err := url.Parse(t)
		if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
			return "", fmt.Errorf("give a URL such as %s://host/path (schemes: %s)", schemes[0], strings.Join(schemes, ", "))
		}
		return t, nil
	})
}

// Address reads host:port to listen on; port 0 takes a free one.
func (s *Settings) Address(name, def, meaning string) string {
	return read(s, name, def, def, meaning, func(t string) (string, error) {
		_, port, err := net.SplitHostPort(t)
		if n, nerr := strconv.Atoi(port); err != nil || nerr != nil || n < 0 || n > 65535 {
			return "", errors.New("give host:port, such as 127.0.0.1:8080 or :8080")
		}
		return t, nil
	})
}
