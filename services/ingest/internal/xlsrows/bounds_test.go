package xlsrows_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xlsrows"
)

// TestBomb: a long text that many cells refer to.
func TestBomb(t *testing.T) {
	t.Parallel()
	globals := (&biff{}).put(0x00FC, uint32(1), uint32(1), 4000, byte(0), strings.Repeat("x", 4000))
	cells := &biff{}
	for row := range 200 {
		for column := range 250 {
			cells.put(0x00FD, row, column, 0, uint32(0))
		}
	}
	b := file8(globals, sheetOf("S", cells))
	r, err := xlsrows.New(bytes.NewReader(b), int64(len(b)), &integration.Sheet{}, maxRow, nil)
	n := 0
	for ; err == nil; n++ {
		_, err = r.Next()
	}
	var e *rows.FileError
	if !errors.As(err, &e) || e.Code != rows.Bomb || n < 60 {
		t.Errorf("%d rows, %v", n, err)
	}
}

// TestLongFormats: number formats are read once each, however long they are. Read
// again for each of their characters, these would take the better part of an hour.
func TestLongFormats(t *testing.T) {
	t.Parallel()
	globals := &biff{}
	for id := range 1000 {
		globals.put(0x041E, 164+id, 8000, byte(0), strings.Repeat("?", 7990)+"dd.mm.yyyy")
	}
	globals.put(0x00E0, 0, 164, make([]byte, 16)) // a cell format that uses the first
	b := file8(globals, sheetOf("S", (&biff{}).put(0x0203, 0, 0, 0, 46082.0)))
	r, err := xlsrows.New(bytes.NewReader(b), int64(len(b)), &integration.Sheet{}, maxRow, nil)
	if err != nil {
		t.Fatal(err)
	}
	if row, err := r.Next(); err != nil || string(row.Body) != `{"c1":"2026-03-01"}` {
		t.Errorf("%s, %v", row.Body, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := file8(nil, sheetOf("S", (&biff{}).text8(0, 0, "x")))
	change := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		le.PutUint32(b[at:], v)
		return b
	}
	for name, tc := range map[string]struct {
		file []byte
		code rows.Code
	}{
		"nothing":             {nil, rows.WrongFormat},
		"text":                {[]byte("id;name\n1;Schraube\n"), rows.WrongFormat},
		"html":                {[]byte("<html><table><tr><td>1</td></tr></table>"), rows.WrongFormat},
		"xlsx":                {[]byte("PK\x03\x04\x14\x00\x06\x00\x08\x00"), rows.WrongFormat},
		"another document":    {contain("WordDocument", nil), rows.WrongFormat},
		"an encrypted xlsx":   {contain("EncryptedPackage", nil), rows.Encrypted},
		"a password":          {file8((&biff{}).put(0x002F, 1, 1, 1), sheetOf("S", &biff{})), rows.Encrypted},
		"only the magic":      {[]byte(good[:100]), rows.Truncated},
		"a cut container":     {good[:700], rows.Malformed},
		"a circle":            {change(512+4*3, 3), rows.Malformed},
		"a sector outside":    {change(512+4*3, 4000), rows.Malformed},
		"many tables":         {change(44, 1<<31), rows.Malformed},
		"a cell too far":      {file8(nil, sheetOf("S", (&biff{}).number(0, 256, 0, 1))), rows.TooLarge},
		"a short cell":        {file8(nil, sheetOf("S", (&biff{}).put(0x0203, 0, 0, 0, 1))), rows.Malformed},
		"a chart":             {(&biff{}).put(0x0809, 0x0600, 0x0020, 0, 0).put(0x000A).b, rows.Unsupported},
		"an unknown version":  {(&biff{}).put(0x0809, 0x0900, 0x0005, 0, 0).put(0x000A).b, rows.Unsupported},
		"no sheets":           {file8(nil), rows.NotFound},
		"a sheet that is cut": {append((&biff{}).put(0x0009, 2, 0x0010).b, 4, 0, 200, 0), rows.Truncated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := readAll(tc.file, integration.Sheet{})
			var e *rows.FileError
			if !errors.As(err, &e) || e.Code != tc.code {
				t.Errorf("got %v, want %s", err, tc.code)
			}
		})
	}
	_, err := xlsrows.New(bytes.NewReader(good), xlsrows.MaxBytes+1, &integration.Sheet{}, maxRow, nil)
	var e *rows.FileError
	if !errors.As(err, &e) || e.Code != rows.TooLarge {
		t.Errorf("a huge file: %v", err)
	}
}

func TestRowBound(t *testing.T) {
	t.Parallel()
	b := file8(nil, sheetOf("S", (&biff{}).text8(0, 0, strings.Repeat("x", 100)).text8(1, 0, "short")))
	r, err := xlsrows.New(bytes.NewReader(b), int64(len(b)), &integration.Sheet{}, 50, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Next()
	var broken *rows.RowError
	if !errors.As(err, &broken) || broken.Code != rows.RowTooLong || broken.Number != 1 {
		t.Fatalf("got %v", err)
	}
	if row, err := r.Next(); err != nil || row.Number != 2 {
		t.Fatalf("the row behind it: %v, %v", row, err)
	}
}

// TestResume goes on from the mark behind every row.
func TestResume(t *testing.T) {
	t.Parallel()
	for _, c := range loadCases(t) {
		if c.Spec.Kind == "reject" {
			continue
		}
		b := c.read(t)
		whole := story(b, integration.Sheet{})
		r, err := xlsrows.New(bytes.NewReader(b), int64(len(b)), &integration.Sheet{}, maxRow, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(whole, "\n") {
			mark := r.Mark()
			again, err := xlsrows.New(bytes.NewReader(b), int64(len(b)), &integration.Sheet{}, maxRow, &mark)
			if err != nil {
				t.Fatalf("%s: %v", c.File, err)
			}
			x, errX := r.Next()
			y, errY := again.Next()
			if fmt.Sprint(x, errX) != fmt.Sprint(y, errY) || again.Mark() != r.Mark() {
				t.Fatalf("%s: after %d rows: %v %v, want %v %v (%s)", c.File, i, y, errY, x, errX, line)
			}
		}
	}
	b := file8(nil, sheetOf("S", (&biff{}).text8(0, 0, "x")))
	var e *rows.FileError
	for _, m := range []rows.Mark{{Rows: 2}, {Rows: 1, Columns: 3}} {
		if _, err := xlsrows.New(bytes.NewReader(b), int64(len(b)), &integration.Sheet{}, maxRow, &m); !errors.As(err, &e) || e.Code != rows.MarkMismatch {
			t.Errorf("%+v: %v", m, err)
		}
	}
}

// FuzzXLS: whatever the bytes are, reading ends, with rows that are JSON.
func FuzzXLS(f *testing.F) {
	cells := (&biff{}).text8(0, 0, "id").number(1, 0, 0, 1).put(0x00BD, 2, 0, 0, uint32(7), 0, uint32(9), 1).put(0x00E5, 1, 0, 1, 0, 1)
	f.Add(file8(formats(14, "d/m"), sheetOf("S", cells)), uint8(0))
	f.Add((&biff{}).put(0x0009, 2, 0x0010).put(0x0004, 0, 0, []byte{0, 0, 0}, byte(1), "x").put(0x000A).b, uint8(1))
	f.Add(contain("Book", workbook(0x0500, nil, sheetOf("S", (&biff{}).put(0x0204, 0, 0, 0, 2, "hi")))), uint8(2))
	for _, c := range loadCases(f) {
		if b := c.read(f); len(b) < 32<<10 {
			f.Add(b, uint8(len(b)))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, how uint8) {
		sheet := integration.Sheet{Header: int(how % 3), Merged: "first"}
		if how&4 != 0 {
			sheet.Merged = "fill"
		}
		got, err := readAll(b, sheet)
		var e *rows.FileError
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("an error without a name: %v", err)
		}
		for i, r := range got.rows {
			if _, err := integration.DecodeJSON(r.Body); err != nil || r.Line < 1 || i > 0 && r.Line <= got.rows[i-1].Line {
				t.Fatalf("row %d at line %d: %s: %v", r.Number, r.Line, r.Body, err)
			}
		}
	})
}
