package cases

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waybill.internal/pkg/testmaterial"
)

// TestXLSDifferences: an expectation of an old spreadsheet that is not met is told,
// whatever part of it is wrong.
func TestXLSDifferences(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join(testmaterial.Folder(t), "xls", "poi", "TwoSheetsOneHidden.xls"))
	if err != nil {
		t.Fatal(err)
	}
	const right = `{"sheets": {"Sheet1": {"calamine": 1, "state": "Hidden", "xlrd": 1}, "Sheet2": {"calamine": 1, "xlrd": 1}},
		"biff": 80, "codepage": 1200, "date1904": false, "nonblank_rows": {"Sheet1": 1, "Sheet2": 1}}`
	run := func(expect string) []string {
		return xlsFile(Case{content: content, Expect: json.RawMessage(expect), notes: new([]string), checks: new(int)})
	}
	if got := run(right); len(got) > 0 {
		t.Fatalf("what is right differs: %q", got)
	}
	for _, change := range [][2]string{
		{`"biff": 80`, `"biff": 50`}, {`1200`, `1252`}, {`false`, `true`}, {`, "state": "Hidden"`, ``}, {`"Sheet2"`, `"Sheet3"`},
		{`"calamine": 1, "xlrd": 1}},`, `"calamine": 2, "xlrd": 2}},`}, {`"sheets"`, `"sheet"`},
	} {
		wrong := strings.ReplaceAll(right, change[0], change[1])
		if change[0] == `"calamine": 1, "xlrd": 1}},` {
			wrong = strings.Replace(wrong, `"Sheet2": 1}`, `"Sheet2": 2}`, 1)
		}
		if got := run(wrong); len(got) == 0 {
			t.Errorf("%s: no difference", change[1])
		}
	}
	if got := run(`{"sheets": {}, "calamine_error": "x", "xlrd_error": "y"}`); len(got) != 1 {
		t.Errorf("a file that nobody else reads: %q", got)
	}
}

// TestRefusedAtASheet: a spreadsheet that nobody else reads may be refused at its
// sheet, too.
func TestRefusedAtASheet(t *testing.T) {
	t.Parallel()
	run := func(sheet string) []string {
		return xlsxFile(Case{content: sheetOf(t, sheet, nil), Expect: json.RawMessage(`{"sheets": {}, "calamine_error": "x", "openpyxl_error": "y"}`), notes: new([]string), checks: new(int)})
	}
	if got := run(`<sheetData><row r="0"/></sheetData>`); len(got) > 0 {
		t.Errorf("refused, but told: %q", got)
	}
	if got := run(`<sheetData/>`); len(got) != 1 {
		t.Errorf("read, but not told: %q", got)
	}
}
