package integration

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// maxSecret bounds a secret's file, in bytes.
const maxSecret = 64 << 10

// stars stand wherever a secret would be printed.
const stars = "***"

// Secret is a reference such as ${BRAND_SECRET}. The value is looked up at each
// Reveal and kept nowhere; every way of printing a Secret gives stars.
type Secret struct {
	name   string
	lookup Lookup
}

// Lookup gives the value of a variable, as os.LookupEnv does. It is called by many
// goroutines at once.
type Lookup func(name string) (string, bool)

// Name is the name of the variable.
func (s Secret) Name() string { return s.name }

// Reveal gives the value of the variable NAME or, if that is not set, of the file
// named by the variable NAME_FILE without its trailing line breaks. An empty value is an error.
func (s Secret) Reveal() (string, error) {
	if s.lookup == nil {
		return "", fmt.Errorf("secret %s: no variables to look it up in", s.name)
	}
	if value, ok := s.lookup(s.name); ok && value != "" {
		return value, nil
	}
	file, ok := s.lookup(s.name + "_FILE")
	if !ok || file == "" {
		return "", fmt.Errorf("the secret %s is not set; set the variable %s, or %s_FILE to a file that holds it", s.name, s.name, s.name)
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("read the secret %s from %s_FILE: %w", s.name, s.name, err)
	}
	if info.Size() > maxSecret || !info.Mode().IsRegular() {
		return "", fmt.Errorf("the secret %s: %s_FILE must name a file of at most %d bytes", s.name, s.name, maxSecret)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read the secret %s from %s_FILE: %w", s.name, s.name, err)
	}
	value := strings.TrimRight(string(raw), "\r\n")
	if value == "" {
		return "", fmt.Errorf("the secret %s: the file named by %s_FILE is empty", s.name, s.name)
	}
	return value, nil
}

func (s Secret) String() string               { return stars }
func (s Secret) GoString() string             { return stars }
func (s Secret) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(stars)) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(stars), nil }

// reference matches ${NAME} and ${NAME:-default}.
func reference() *regexp.Regexp {
	return regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}`)
}

func (s *Secret) fromText(text string) error {
	match := reference().FindStringSubmatch(text)
	if match == nil || match[0] != text || match[2] != "" {
		return fmt.Errorf("a secret is never written into the file; write ${NAME} and set the variable NAME (or NAME_FILE)")
	}
	s.name = match[1]
	return nil
}

func (s Secret) document() any { return "${" + s.name + "}" }

// resolve replaces the variables of a text that is not secret.
func resolve(text string, lookup Lookup) (string, error) {
	var missing error
	out := reference().ReplaceAllStringFunc(text, func(ref string) string {
		match := reference().FindStringSubmatch(ref)
		if value, ok := lookup(match[1]); ok && value != "" {
			return value
		}
		if match[2] == "" {
			missing = fmt.Errorf("the variable %s is not set; set it, or write ${%s:-a default}", match[1], match[1])
		}
		return match[3]
	})
	if missing == nil && strings.Contains(out, "${") {
		missing = fmt.Errorf("%q holds a variable that cannot be read; write ${NAME} or ${NAME:-default}", shorten(text))
	}
	return out, missing
}
