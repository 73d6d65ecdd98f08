package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// page is one document, its name relative to the repository's folder.
type page struct {
	name string
	text string
}

// facts are what the pages are held against.
type facts struct {
	root      string
	targets   map[string]bool // of the Makefile
	commands  []string        // of waybill: "dead list"
	variables map[string]bool // WAYBILL_ names that some source or help knows
	// flags of a command of waybill.
	flags func(command string) (map[string]bool, error)
}

var (
	fence       = regexp.MustCompile("^\\s*(```|~~~)")
	inlineCode  = regexp.MustCompile("`([^`]+)`")
	link        = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)
	heading     = regexp.MustCompile(`^#{1,6} +(.*)$`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	assignment  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
	word        = regexp.MustCompile(`^[a-z][a-z-]*$`)
	flagWord    = regexp.MustCompile(`^(--[a-z][a-z-]*)(=.*)?$`)
	variable    = regexp.MustCompile(`WAYBILL_[A-Z_]*[A-Z]`)
	ownPath     = regexp.MustCompile(`^(pkg|services|proto|test|docs|deploy|scripts)/[A-Za-z0-9._/-]+$`)
	separators  = regexp.MustCompile(`\|\||&&|[;|]`)
)

// prose is the text outside fenced blocks, by line; code the lines inside and the inline spans.
func (p page) split() (prose, code []string) {
	inside := false
	for line := range strings.Lines(p.text) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case fence.MatchString(line):
			inside = !inside
		case inside:
			code = append(code, line)
		default:
			prose = append(prose, line)
			for _, m := range inlineCode.FindAllStringSubmatch(line, -1) {
				code = append(code, m[1])
			}
		}
	}
	return prose, code
}

// links finds relative links that lead nowhere.
func (f facts) links(p page) []string {
	var problems []string
	prose, _ := p.split()
	for _, line := range prose {
		for _, m := range link.FindAllStringSubmatch(inlineCode.ReplaceAllString(line, ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file := filepath.Join(f.root, filepath.Dir(p.name), target)
			text := p.text
			if target != "" {
				read, err := os.ReadFile(file)
				if info, statErr := os.Stat(file); statErr != nil || (err != nil && !info.IsDir()) {
					problems = append(problems, fmt.Sprintf("%s: the link %s leads nowhere", p.name, m[1]))
					continue
				}
				text = string(read)
			}
			if anchor != "" && !slices.Contains(anchors(text), anchor) {
				problems = append(problems, fmt.Sprintf("%s: the link %s: there is no such heading", p.name, m[1]))
			}
		}
	}
	return problems
}

// anchors of a page's headings, as the usual viewers make them.
func anchors(text string) []string {
	var list []string
	prose, _ := page{text: text}.split()
	for _, line := range prose {
		if m := heading.FindStringSubmatch(line); m != nil {
			plain := notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(m[1])), "")
			list = append(list, strings.ReplaceAll(plain, " ", "-"))
		}
	}
	return list
}

// mentions finds commands, targets, flags, variables and files that do not exist.
func (f facts) mentions(p page) []string {
	var problems []string
	_, code := p.split()
	for _, c := range code {
		for _, segment := range separators.Split(c, -1) {
			if problem := f.typed(segment); problem != "" {
				problems = append(problems, p.name+": "+problem)
			}
		}
		if ownPath.MatchString(c) {
			if _, err := os.Stat(filepath.Join(f.root, c)); err != nil {
				problems = append(problems, fmt.Sprintf("%s: there is no %s", p.name, c))
			}
		}
	}
	for _, name := range variable.FindAllString(p.text, -1) {
		if !f.variables[name] && !f.variables[strings.TrimSuffix(name, "_FILE")] {
			problems = append(problems, fmt.Sprintf("%s: nothing reads the variable %s", p.name, name))
		}
	}
	return problems
}

// typed checks one command line, and says nothing of what is none of ours.
func (f facts) typed(segment string) string {
	words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(segment), "$ "))
	for len(words) > 0 && assignment.MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) == 0 {
		return ""
	}
	switch words[0] {
	case "make":
		return f.made(words[1:])
	case "waybill", "bin/waybill", "./bin/waybill":
		return f.command(words[1:])
	}
	return ""
}

func (f facts) made(words []string) string {
	for _, w := range words {
		if word.MatchString(w) && !f.targets[w] {
			return fmt.Sprintf("make has no target %s", w)
		}
	}
	return ""
}

func (f facts) command(words []string) string {
	var name string
	rest := words
	for len(rest) > 0 && word.MatchString(rest[0]) && f.begins(strings.TrimSpace(name+" "+rest[0])) {
		name, rest = strings.TrimSpace(name+" "+rest[0]), rest[1:]
	}
	if name == "" && len(rest) > 0 && word.MatchString(rest[0]) {
		return fmt.Sprintf("waybill has no command %s", rest[0])
	}
	group := !slices.Contains(f.commands, name)
	if group && len(rest) > 0 && word.MatchString(rest[0]) {
		return fmt.Sprintf("waybill %s has no command %s", name, rest[0])
	}
	known, err := f.flags(name)
	if err != nil {
		return err.Error()
	}
	for _, w := range rest {
		if m := flagWord.FindStringSubmatch(strings.Trim(w, "\"'…,.)")); m != nil && !known[m[1]] {
			return fmt.Sprintf("waybill %s has no flag %s", name, m[1])
		}
	}
	return ""
}

// begins reports whether words are a command of waybill or the beginning of one.
func (f facts) begins(words string) bool {
	return slices.ContainsFunc(f.commands, func(c string) bool { return c == words || strings.HasPrefix(c, words+" ") })
}
