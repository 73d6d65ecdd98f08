package boundary

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	module  = "waybill.internal/" // all module paths begin so
	maxText = 1 << 20             // larger files are no text that people wrote
)

// source is one Go file; path is relative to the root, with slashes.
type source struct {
	path    string
	imports []string
	syntax  *ast.File
	set     *token.FileSet
}

func (s source) folder() string      { return path.Dir(s.path) }
func (s source) test() bool          { return strings.HasSuffix(s.path, "_test.go") }
func (s source) in(f string) bool    { return s.folder() == f || strings.HasPrefix(s.path, f+"/") }
func (s source) line(n ast.Node) int { return s.set.Position(n.Pos()).Line }

// suite says whether a file belongs to a package that holds an edge's promises as tests.
func (s source) suite() bool { return s.in("pkg") && strings.HasSuffix(s.folder(), "test") }

func parse(name string, text []byte) (source, error) {
	s := source{path: name, set: token.NewFileSet()}
	var err error
	if s.syntax, err = parser.ParseFile(s.set, name, text, parser.ParseComments); err != nil {
		return source{}, err
	}
	for _, i := range s.syntax.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, p)
	}
	return s, nil
}

// repository is all that people wrote.
type repository struct {
	root string
	text map[string]string // by path
	code []source
}

var theRepository = sync.OnceValues(readRepository) //nolint:gochecknoglobals // read once for all tests of the process

func readRepository() (*repository, error) {
	_, file, _, _ := runtime.Caller(0)
	r := &repository{root: filepath.Dir(filepath.Dir(filepath.Dir(file))), text: map[string]string{}}
	return r, filepath.WalkDir(r.root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(r.root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if e.IsDir() {
			if rel == ".git" || rel == "bin" || rel == "var" || e.Name() == "testdata" || e.Name() == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		return r.add(rel, name, e)
	})
}

func (r *repository) add(rel, name string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxText {
		return err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	r.text[rel] = string(text)
	if path.Ext(rel) != ".go" {
		return nil
	}
	s, err := parse(rel, text)
	if err != nil {
		return err
	}
	r.code = append(r.code, s)
	return nil
}

func read(t *testing.T) *repository {
	t.Helper()
	r, err := theRepository()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.code) < 100 {
		t.Fatalf("only %d Go files are found in %s", len(r.code), r.root)
	}
	return r
}

// planted parses a breach; the test fails when the text is no Go.
func planted(t *testing.T, name, text string) source {
	t.Helper()
	s, err := parse(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
