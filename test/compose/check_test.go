package compose

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// setting is one line of a binary's --help.
type setting struct{ def string }

// world is what the file is held against.
type world struct {
	root         string
	stages       map[string]*stage
	settings     map[string]map[string]setting // binary -> variable
	shared       map[string]bool               // variables that every binary reads: the command waybill too
	integrations map[string]bool               // variables of the integration files -> has a default
	load         map[string]func(lookup func(string) (string, bool)) error
	// flags gives the flags of a command of waybill; an error when there is no such command.
	flags func(words []string) (map[string]bool, error)
}

// foreign are the images that are not ours, with the variables used and the ports.
var foreign = map[string]struct{ variables, ports []string }{
	"postgres:17": {[]string{"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"}, []string{"5432"}},
	"apache/kafka:4.3.1": {[]string{"KAFKA_NODE_ID", "KAFKA_PROCESS_ROLES", "KAFKA_CONTROLLER_QUORUM_VOTERS", "KAFKA_LISTENERS", "KAFKA_ADVERTISED_LISTENERS",
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "KAFKA_CONTROLLER_LISTENER_NAMES", "KAFKA_INTER_BROKER_LISTENER_NAME", "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS",
		"KAFKA_AUTO_CREATE_TOPICS_ENABLE", "KAFKA_LOG_DIRS"}, []string{"9092", "9093"}},
}

// address finds host:port in values and arguments, also inside a URL.
var address = regexp.MustCompile(`(?:^|[@/,])([a-z][a-z0-9-]*):(\d+)`)

type checker struct {
	*file
	world
	problems []string
	ports    map[string]string // host port -> service
}

func (c *checker) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// check gives every mistake, one sentence each.
func check(f *file, w world) []string {
	c := &checker{file: f, world: w, ports: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(f.Services)) {
		s := f.Services[name]
		c.origin(name, s)
		c.environment(name, s)
		c.command(name, s)
		c.addresses(name, s)
		c.published(name, s)
		c.mounts(name, s)
		c.dependencies(name, s)
		c.times(name, s)
	}
	return c.problems
}

func (c *checker) origin(name string, s *service) {
	if s.Build == nil {
		if _, known := foreign[s.Image]; !known {
			c.problem("%s: image %q is not one that this test knows", name, s.Image)
		}
		return
	}
	st := c.stages[s.Build.Target]
	switch {
	case s.Image != "":
		c.problem("%s: has both an image and a build", name)
	case s.Build.Context != "." || s.Build.Dockerfile != "deploy/Dockerfile":
		c.problem("%s: is not built from deploy/Dockerfile in the repository's folder", name)
	case st == nil || st.entrypoint == "":
		c.problem("%s: deploy/Dockerfile has no stage %q with an entrypoint", name, s.Build.Target)
	case st.user != "65532:65532":
		c.problem("%s: stage %q does not run as user 65532", name, s.Build.Target)
	}
}

// binary is "" for images that are not ours.
func (s *service) binary() string {
	if s.Build == nil {
		return ""
	}
	return s.Build.Target
}

func (c *checker) environment(name string, s *service) {
	for _, variable := range slices.Sorted(maps.Keys(s.Environment)) {
		if !c.reads(s, variable) {
			c.problem("%s: nothing there reads the variable %s", name, variable)
		}
	}
	load := c.load[s.binary()]
	if load == nil {
		return
	}
	for variable, hasDefault := range c.integrations {
		if s.Environment[variable] == "" && !hasDefault {
			c.problem("%s: an integration needs the variable %s", name, variable)
		}
	}
	err := load(func(variable string) (string, bool) {
		value, found := s.Environment[variable]
		return value, found
	})
	if err != nil {
		c.problem("%s: %v", name, err)
	}
	if folder := s.Environment["WAYBILL_INTEGRATIONS"]; folder != "" {
		if _, err := os.Stat(filepath.Join(c.root, folder)); err != nil {
			c.problem("%s: WAYBILL_INTEGRATIONS names %s, which the image does not hold", name, folder)
		}
	}
}

func (c *checker) reads(s *service, variable string) bool {
	if s.Build == nil {
		return slices.Contains(foreign[s.Image].variables, variable)
	}
	if _, known := c.integrations[variable]; known {
		return true
	}
	variable = strings.TrimSuffix(variable, "_FILE")
	if s.binary() == "waybill" {
		return c.shared[variable]
	}
	_, known := c.settings[s.binary()][variable]
	return known
}

func (c *checker) command(name string, s *service) {
	switch {
	case s.Build == nil:
		return
	case s.binary() != "waybill":
		if len(s.Command) > 0 {
			c.problem("%s: the binary %s takes no command: %q", name, s.binary(), s.Command)
		}
		return
	}
	words, flags := split(s.Command)
	known, err := c.flags(words)
	if err != nil {
		c.problem("%s: command %q: %v", name, words, err)
		return
	}
	for _, flag := range slices.Sorted(maps.Keys(flags)) {
		if !known[flag] {
			c.problem("%s: waybill %s has no flag %s", name, strings.Join(words, " "), flag)
		}
	}
}

// split parts the words of a command from its flags and their values.
func split(command []string) (words []string, flags map[string]string) {
	flags = map[string]string{}
	for i := 0; i < len(command); i++ {
		name, value, joined := strings.Cut(command[i], "=")
		switch {
		case !strings.HasPrefix(name, "-"):
			words = append(words, command[i])
		case joined:
			flags[name] = value
		case i+1 < len(command) && !strings.HasPrefix(command[i+1], "--"):
			flags[name] = command[i+1]
			i++
		default:
			flags[name] = ""
		}
	}
	return words, flags
}

// listens gives the ports that a service opens to other containers.
func (c *checker) listens(s *service) []string {
	if s.Build == nil {
		return foreign[s.Image].ports
	}
	var at []string
	if _, flags := split(s.Command); flags["--listen"] != "" {
		at = append(at, flags["--listen"])
	}
	for variable, v := range c.settings[s.binary()] {
		if strings.HasSuffix(variable, "_ADDRESS") {
			value := v.def
			if own := s.Environment[variable]; own != "" {
				value = own
			}
			at = append(at, value)
		}
	}
	var ports []string
	for _, a := range at {
		host, port, err := net.SplitHostPort(a)
		if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
			ports = append(ports, port)
		}
	}
	return ports
}

// addresses looks at every host:port that a service is told.
func (c *checker) addresses(name string, s *service) {
	told := append(slices.Sorted(maps.Values(s.Environment)), s.Command...)
	for _, text := range told {
		for _, m := range address.FindAllStringSubmatch(text, -1) {
			other := c.Services[m[1]]
			if other == nil {
				c.problem("%s: %s is no service of this file (in %q)", name, m[1], text)
			} else if !slices.Contains(c.listens(other), m[2]) {
				c.problem("%s: %s does not listen on port %s (in %q)", name, m[1], m[2], text)
			}
		}
	}
	if url := s.Environment["WAYBILL_POSTGRES_URL"]; url != "" {
		e := c.Services["postgres"].Environment
		want := fmt.Sprintf("postgres://%s:%s@postgres:5432/%s", e["POSTGRES_USER"], e["POSTGRES_PASSWORD"], e["POSTGRES_DB"])
		if url != want {
			c.problem("%s: WAYBILL_POSTGRES_URL is not what the service postgres was told", name)
		}
	}
}

func (c *checker) published(name string, s *service) {
	for _, p := range s.Ports {
		parts := strings.Split(p, ":")
		if len(parts) != 3 || parts[0] != "127.0.0.1" {
			c.problem("%s: port %q is not 127.0.0.1:host:container", name, p)
			continue
		}
		if n, err := strconv.Atoi(parts[1]); err != nil || n < 1 || n > 65535 {
			c.problem("%s: port %q is no port", name, p)
		}
		if other, taken := c.ports[parts[1]]; taken {
			c.problem("%s: %s publishes port %s too", name, other, parts[1])
		}
		c.ports[parts[1]] = name
		if !slices.Contains(c.listens(s), parts[2]) {
			c.problem("%s: nothing in the container listens on port %s for others", name, parts[2])
		}
	}
}

func (c *checker) mounts(name string, s *service) {
	for _, v := range s.Volumes {
		parts := strings.Split(v, ":")
		if len(parts) < 2 || len(parts) > 3 || !filepath.IsAbs(parts[1]) || (len(parts) == 3 && parts[2] != "ro") {
			c.problem("%s: volume %q is not source:target or source:target:ro", name, v)
			continue
		}
		if strings.HasPrefix(parts[0], "./") {
			if _, err := os.Stat(filepath.Join(c.root, parts[0])); err != nil {
				c.problem("%s: %s does not exist", name, parts[0])
			}
		} else if _, declared := c.Volumes[parts[0]]; !declared {
			c.problem("%s: volume %s is not declared", name, parts[0])
		}
	}
	_, flags := split(s.Command)
	for flag, value := range flags {
		if filepath.IsAbs(value) && !c.holds(s, value) {
			c.problem("%s: %s names %s, which no volume brings", name, flag, value)
		}
	}
}

// holds says whether a bind mount brings a path into the container.
func (c *checker) holds(s *service, path string) bool {
	_, err := os.Stat(c.onHost(s, path))
	return err == nil
}

// onHost is the path of a container's file on this machine; "" if no volume brings it.
func (c *checker) onHost(s *service, path string) string {
	for _, v := range s.Volumes {
		source, target, _ := strings.Cut(v, ":")
		target = strings.TrimSuffix(target, ":ro")
		if rest, inside := strings.CutPrefix(path, target); inside && strings.HasPrefix(source, "./") {
			return filepath.Join(c.root, source, rest)
		}
	}
	return ""
}

func (c *checker) dependencies(name string, s *service) {
	for other, d := range s.DependsOn {
		o := c.Services[other]
		switch {
		case o == nil:
			c.problem("%s: depends on %s, which is no service", name, other)
		case d.Condition == "service_started":
		case d.Condition == "service_healthy" && o.Healthcheck == nil:
			c.problem("%s: waits for %s to be healthy, which has no health check", name, other)
		case d.Condition == "service_completed_successfully" && o.Restart != "":
			c.problem("%s: waits for %s to end, which is restarted", name, other)
		case d.Condition != "service_healthy" && d.Condition != "service_completed_successfully":
			c.problem("%s: %q is no condition", name, d.Condition)
		}
	}
}

func (c *checker) times(name string, s *service) {
	given := []string{s.StopGracePeriod}
	if h := s.Healthcheck; h != nil {
		given = append(given, h.Interval, h.Timeout)
		if len(h.Test) < 2 || (h.Test[0] != "CMD" && h.Test[0] != "CMD-SHELL") || h.Retries < 1 {
			c.problem("%s: the health check needs a command and retries", name)
		} else if s.Build != nil && h.Test[0] == "CMD-SHELL" {
			c.problem("%s: the image has no shell for its health check", name)
		}
	}
	for _, g := range given {
		if d, err := time.ParseDuration(g); g != "" && (err != nil || d <= 0) {
			c.problem("%s: %q is no time", name, g)
		}
	}
}
