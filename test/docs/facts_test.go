package docs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"waybill.internal/test/harness"
)

const limit = time.Minute // of one run of a binary; nothing here takes a second

var (
	makeTarget  = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	commandLine = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*(?: [a-z][a-z-]*)*)(?:  |$)`)
	flagInHelp  = regexp.MustCompile(`--[a-z][a-z-]*`)
)

// theFacts asks the built binaries and the sources; once, because that takes a while.
var theFacts = sync.OnceValues(newFacts) //nolint:gochecknoglobals // shared by the tests of one process

func newFacts() (facts, error) {
	bin, err := harness.Build("")
	if err != nil {
		return facts{}, err
	}
	f := facts{root: harness.Root(), targets: map[string]bool{}, variables: map[string]bool{}}
	makefile, err := os.ReadFile(filepath.Join(f.root, "Makefile"))
	if err != nil {
		return f, err
	}
	for _, m := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
		f.targets[m[1]] = true
	}
	waybill := filepath.Join(bin, "waybill")
	help, err := output(waybill, "--help")
	if err != nil {
		return f, err
	}
	_, list, found := strings.Cut(help, "\nCommands:\n")
	for _, m := range commandLine.FindAllStringSubmatch(list, -1) {
		f.commands = append(f.commands, m[1])
	}
	if !found || len(f.commands) == 0 {
		return f, fmt.Errorf("waybill --help lists no commands:\n%s", help)
	}
	f.flags = flagsOf(waybill)
	return f, f.readVariables(string(makefile))
}

func flagsOf(waybill string) func(string) (map[string]bool, error) {
	var mu sync.Mutex
	known := map[string]map[string]bool{}
	return func(command string) (map[string]bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if flags := known[command]; flags != nil {
			return flags, nil
		}
		help, err := output(waybill, append(strings.Fields(command), "--help")...)
		if err != nil {
			return nil, err
		}
		flags := map[string]bool{}
		for _, f := range flagInHelp.FindAllString(help, -1) {
			flags[f] = true
		}
		known[command] = flags
		return flags, nil
	}
}

// readVariables finds every WAYBILL_ name that a source reads.
func (f facts) readVariables(makefile string) error {
	for _, name := range variable.FindAllString(makefile, -1) {
		f.variables[name] = true
	}
	for _, folder := range []string{"pkg", "services", "test"} {
		err := filepath.WalkDir(filepath.Join(f.root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) { // an editor's file that went meanwhile
				return nil
			}
			for _, name := range variable.FindAllString(string(text), -1) {
				f.variables[name] = true
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func output(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// pages are the documents of the repository.
func pages(root string) ([]page, error) {
	var list []page
	add := func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		list = append(list, page{name: filepath.ToSlash(name), text: string(text)})
		return err
	}
	top, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		return nil, err
	}
	for _, path := range top {
		if err := add(path); err != nil {
			return nil, err
		}
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		return add(path)
	})
	return list, err
}
