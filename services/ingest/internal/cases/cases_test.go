package cases_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill.internal/pkg/testmaterial"
	"waybill.internal/services/ingest/internal/cases"
)

// Not parallel: hostile files are watched for the memory they take.
func TestFolder(t *testing.T) {
	var out strings.Builder
	r, err := cases.Run(testmaterial.Folder(t), &out)
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Error(out.String())
	}
	for kind, n := range map[string]int{"csv": 50, "json": 10, "webhooks": 100, "xls": 20, "xlsx": 25, "xml": 40} {
		if r.Total[kind] < n && os.Getenv(testmaterial.Variable) == "" {
			t.Errorf("only %d files of %s", r.Total[kind], kind)
		}
	}
}

// file is one entry of a manifest that the test writes.
type file struct {
	name    string
	content string
	spec    string // JSON; empty: none
	expect  string
}

// run writes a folder and runs it.
func run(t testing.TB, files ...file) (code int, out, errs string) {
	t.Helper()
	dir := t.TempDir()
	var list []map[string]any
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f.content), 0o600); err != nil {
			t.Fatal(err)
		}
		entry := map[string]any{"file": f.name, "sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(f.content)))}
		if f.spec != "" {
			entry["spec"] = json.RawMessage(f.spec)
		}
		if f.expect != "" {
			entry["expect"] = json.RawMessage(f.expect)
		}
		list = append(list, entry)
	}
	manifest, err := json.Marshal(map[string]any{"set": "test", "files": list})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	code = cases.Main([]string{dir}, "", &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

const (
	csvSpec = `{"kind":"csv","enc":"utf-8-sig","delim":",","header":0}`
	csvText = "a,b\n1,2\n"
	csvSum  = "b6ea9f9b2b6c1cf6ecb2a2bb7b0d1a6e"
)

// digest is the oracle's of cells.
func digest(cells string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(cells))) }

func csvExpect(records, blank, columns, ragged int, sum, header string) string {
	return fmt.Sprintf(`{"records":%d,"blank_rows":%d,"columns":%d,"ragged_records":%d,"sha256_records":%q,"header":%s}`, records, blank, columns, ragged, sum, header)
}

func TestWhatIsRightPasses(t *testing.T) {
	t.Parallel()
	right := csvExpect(1, 0, 2, 0, digest("1\x1f2\x1e"), `["a","b"]`)
	code, out, errs := run(t,
		file{"csv/a.csv", csvText, csvSpec, right},
		file{"json/a.json", `{"o":[{"b":1.50,"a":"ä\u0001"}]}`, `{"kind":"json","record":"o[]"}`, fmt.Sprintf(`{"records":1,"record":"o[]","top":"dict","sha256_records":%q}`, digest(`{"a": "ä\u0001", "b": 1.5}`))},
		file{"json/a.ndjson", "[1]\nx\n", `{"kind":"ndjson"}`, `{"records":1,"bad_lines":[2]}`},
		file{"json/hostile/a.json", `[1`, `{"kind":"reject","why":"cut off"}`, `{"expect":"reject","why":"cut off"}`},
		file{"csv/kept.csv", "a,b\n1\"x,2\n", csvSpec, csvExpect(1, 0, 2, 0, digest("1\"x\x1f2\x1e"), `["a","b"]`)},
		file{"csv/latin.csv", "a,b\n1,\x92\n", `{"kind":"csv","enc":"latin-1","delim":","}`, csvExpect(1, 0, 2, 0, digest("1\x1f\u0092\x1e"), `["a","b"]`)},
		file{"csv/ragged.csv", "a,b\n1\n,\n\n2,3\n", csvSpec, `{"records":2,"blank_rows":2,"columns":2,"ragged_records":1,"header":["a","b"],"widths":{"1":1,"2":1},"sha256_records":"` + digest("1\x1e2\x1f3\x1e") + `"}`},
	)
	if code != 0 || errs != "" || !strings.Contains(out, "cases: csv passed 4 of 4\n") || !strings.Contains(out, "cases: json passed 3 of 3\n") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
}

// Every part of an expectation that is wrong is a difference.
func TestWhatIsWrongFails(t *testing.T) {
	t.Parallel()
	sum := digest("1\x1f2\x1e")
	for name, f := range map[string]file{
		"records":       {"csv/a.csv", csvText, csvSpec, csvExpect(2, 0, 2, 0, sum, `["a","b"]`)},
		"blank rows":    {"csv/a.csv", csvText, csvSpec, csvExpect(1, 1, 2, 0, sum, `["a","b"]`)},
		"columns":       {"csv/a.csv", csvText, csvSpec, csvExpect(1, 0, 3, 0, sum, `["a","b"]`)},
		"ragged":        {"csv/a.csv", csvText, csvSpec, csvExpect(1, 0, 2, 1, sum, `["a","b"]`)},
		"cells":         {"csv/a.csv", csvText, csvSpec, csvExpect(1, 0, 2, 0, csvSum, `["a","b"]`)},
		"header":        {"csv/a.csv", csvText, csvSpec, csvExpect(1, 0, 2, 0, sum, `["a","c"]`)},
		"no header":     {"csv/a.csv", csvText, `{"kind":"csv","header":null}`, csvExpect(2, 0, 3, 0, digest("a\x1fb\x1e1\x1f2\x1e"), "null")},
		"new key":       {"csv/a.csv", csvText, csvSpec, `{"records":1,"something":1}`},
		"no such kind":  {"csv/a.csv", csvText, `{"kind":"parquet"}`, "{}"},
		"no kind":       {"csv/a.csv", csvText, "", ""},
		"folder":        {"avro/a.avro", csvText, "", ""},
		"codec":         {"csv/a.csv", csvText, `{"kind":"csv","enc":"klingon"}`, csvExpect(1, 0, 2, 0, sum, `["a","b"]`)},
		"rows":          {"csv/a.csv", "a+b&1+2&", `{"kind":"split","fieldsep":"+","rowsep":"&"}`, csvExpect(1, 0, 2, 0, sum, "null")},
		"json records":  {"json/a.json", `[1]`, `{"kind":"json","record":"[]"}`, `{"records":1,"record":"[]","top":"list","sha256_records":""}`},
		"json top":      {"json/a.json", `[1]`, `{"kind":"json","record":"[]"}`, `{"records":1,"record":"[]","top":"dict","sha256_records":"` + digest("1") + `"}`},
		"bad lines":     {"json/a.ndjson", "[1]\nx\n", `{"kind":"ndjson"}`, `{"records":1,"bad_lines":[]}`},
		"not refused":   {"csv/hostile/a.csv", csvText, `{"kind":"reject","why":"a reason"}`, `{"expect":"reject"}`},
		"accepts":       {"json/jsontestsuite.ndjson", `{"name":"x","expect":"reject","b64":"W10="}` + "\n", "", `{"lines":1,"reject":1}`},
		"refuses":       {"json/jsontestsuite.ndjson", `{"name":"x","expect":"accept","b64":"Ww=="}` + "\n", "", `{"lines":1,"accept":1}`},
		"too few lines": {"json/jsontestsuite.ndjson", `{"name":"x","expect":"accept","b64":"W10="}` + "\n", "", `{"lines":2}`},
		"no remotes":    {"json/jsonschema-x.ndjson", `{"file":"x","schema":true,"tests":[]}` + "\n", "", `{"groups":1,"tests":0}`},
		"vector":        {"webhooks/vectors/github.json", `[{"id":"x","provider":"github","headers":{},"body":"{}","secret":"s","expect":"valid"}]`, "", `{"valid":1}`},
		"xml":           {"xml/a.xml", "<a><b/></a>", `{"kind":"xml","record":null}`, `{"records":2}`},
	} {
		code, out, errs := run(t, f)
		if code != 1 || !strings.Contains(out, "difference: "+f.name+": ") || !strings.Contains(out, "passed 0 of 1\n") || !strings.Contains(errs, "difference") {
			t.Errorf("%s: %d\n%s%s", name, code, out, errs)
		}
	}
}

func TestFoldersThatCannotBeRun(t *testing.T) {
	t.Parallel()
	write := func(manifest string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for name, dir := range map[string]string{
		"no manifest": t.TempDir(), "no JSON": write("x"), "no files": write(`{"files":[]}`), "no name": write(`{"files":[{}]}`),
		"unknown argument": write(`{"files":[{"file":"csv/a.csv","spec":{"kind":"csv","dialect":"x"}}]}`),
		"missing file":     write(`{"files":[{"file":"csv/a.csv","spec":{"kind":"csv"}}]}`),
		"outside":          write(`{"files":[{"file":"../a.csv","spec":{"kind":"csv"}}]}`),
		"wrong digest":     write(`{"files":[{"file":"manifest.json","sha256":"00","spec":{"kind":"json"}}]}`),
	} {
		var out, errs strings.Builder
		if code := cases.Main([]string{dir}, "", &out, &errs); code != 1 || errs.Len() == 0 {
			t.Errorf("%s: %d\n%s%s", name, code, &out, &errs)
		}
	}
	var out, errs strings.Builder
	if code := cases.Main(nil, "", &out, &errs); code != 2 || !strings.Contains(errs.String(), "usage") {
		t.Errorf("%d %s", code, &errs)
	}
}
