package compose

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
)

// file is what docker-compose.yml may hold; an unknown key is a mistake.
type file struct {
	Name     string              `yaml:"name"`
	Settings map[string]string   `yaml:"x-settings"`
	Services map[string]*service `yaml:"services"`
	Volumes  map[string]struct{} `yaml:"volumes"`
}

type service struct {
	Image           string                `yaml:"image"`
	Build           *build                `yaml:"build"`
	Profiles        []string              `yaml:"profiles"`
	Command         []string              `yaml:"command"`
	Environment     map[string]string     `yaml:"environment"`
	Ports           []string              `yaml:"ports"`
	Volumes         []string              `yaml:"volumes"`
	DependsOn       map[string]dependency `yaml:"depends_on"`
	Healthcheck     *healthcheck          `yaml:"healthcheck"`
	ReadOnly        bool                  `yaml:"read_only"`
	CapDrop         []string              `yaml:"cap_drop"`
	SecurityOpt     []string              `yaml:"security_opt"`
	StopGracePeriod string                `yaml:"stop_grace_period"`
	Restart         string                `yaml:"restart"`
}

type build struct {
	Context    string `yaml:"context"`
	Dockerfile string `yaml:"dockerfile"`
	Target     string `yaml:"target"`
}

type dependency struct {
	Condition string `yaml:"condition"`
}

type healthcheck struct {
	Test     []string `yaml:"test"`
	Interval string   `yaml:"interval"`
	Timeout  string   `yaml:"timeout"`
	Retries  int      `yaml:"retries"`
}

// interpolation is ${NAME:-default}, the one form that this file uses.
var interpolation = regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`)

// decode reads the file as Compose would where no variable is set.
func decode(text []byte) (*file, error) {
	text = interpolation.ReplaceAll(text, []byte("$1"))
	if at := bytes.Index(text, []byte("${")); at >= 0 {
		return nil, fmt.Errorf("line %d: a variable needs a default here: ${NAME:-default}", 1+bytes.Count(text[:at], []byte("\n")))
	}
	var f file
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&f); err != nil {
		return nil, err
	}
	return &f, nil
}

// stage is the last state of one stage of the Dockerfile.
type stage struct {
	entrypoint string
	exposed    []string
	user       string
}

// stages reads what the test needs of a Dockerfile, by its instructions.
func stages(root string) (map[string]*stage, error) {
	text, err := os.ReadFile(filepath.Join(root, "deploy", "Dockerfile"))
	if err != nil {
		return nil, err
	}
	found := map[string]*stage{}
	var now *stage
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 4 && words[0] == "FROM" && words[2] == "AS":
			now = &stage{}
			if base := found[words[1]]; base != nil {
				now.user = base.user
			}
			found[words[3]] = now
		case len(words) > 1 && words[0] == "EXPOSE":
			now.exposed = words[1:]
		case len(words) == 2 && words[0] == "USER":
			now.user = words[1]
		case len(words) == 2 && words[0] == "ENTRYPOINT":
			now.entrypoint = strings.Trim(words[1], `[]"`)
		case len(words) > 1 && words[0] == "COPY" && !strings.HasPrefix(words[1], "--from"):
			if _, err := os.Stat(filepath.Join(root, words[1])); err != nil {
				return nil, fmt.Errorf("deploy/Dockerfile copies %s: %w", words[1], err)
			}
		}
	}
	return found, nil
}
