package jsonrows_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/jsonrows"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/rowstest"
)

const maxRow = 1 << 20

func list(items string) rowstest.Opener {
	return func(src io.Reader, maxRow int, from *rows.Mark) (rows.Reader, error) {
		r, err := jsonrows.New(src, &integration.JSON{Items: items}, maxRow, from)
		return r, err
	}
}

func lines(src io.Reader, maxRow int, from *rows.Mark) (rows.Reader, error) {
	r, err := jsonrows.NewLines(src, maxRow, from)
	return r, err
}

func TestLists(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, items, data string
		want              []string
		end               rows.Code // empty: the file is read to its end
	}{
		{"objects", "", "[{\"a\": 1},\n {\"b\" : [1, 2]} ]\n", []string{`1@1 {"a":1}`, `2@2 {"b":[1,2]}`}, ""},
		{"BOM", "", "\xef\xbb\xbf[{}]", []string{"1@1 {}"}, ""},
		{"utf-16", "", "\xff\xfe[\x00{\x00}\x00]\x00", []string{"1@1 {}"}, ""},
		{"others", "", `["x", 1.50, null, [], true, "]\"}"]`, []string{`1@1 {"value":"x"}`, `2@1 {"value":1.50}`, `3@1 {"value":null}`, `4@1 {"value":[]}`, `5@1 {"value":true}`, `6@1 {"value":"]\"}"}`}, ""},
		{"empty list", "", " [ ] ", nil, ""},
		{"below", "/data/orders", `{"n":[{"orders":[1]}],"data":{"x":"]","orders":[{"a":1},{"a":2}],"y":{}},"z":1}`, []string{`1@1 {"a":1}`, `2@1 {"a":2}`}, ""},
		{"escaped names", "/a~1b/~0", `{"a/b":{"~":[{}]}}`, []string{"1@1 {}"}, ""},
		{"name in escapes", "/a", `{"\u0061":[{}]}`, []string{"1@1 {}"}, ""},
		{"every element", "/orders/*/lines", `{"orders":[{"lines":[1,2]},{"lines":null},{},{"x":0,"lines":[3]}]}`, []string{`1@1 {"value":1}`, `2@1 {"value":2}`, `3@1 {"value":3}`}, ""},
		{"no element", "/orders/*/lines", `{"orders":[]}`, nil, ""},
		{"by number", "/1/x", `[{"x":[1]},{"x":[2]}]`, []string{`1@1 {"value":2}`}, ""},
		{"one object", "", `{"a":[1]}`, []string{`1@1 {"a":[1]}`}, ""},
		{"one object below", "/o", `{"o":{"a":[1]}}`, []string{`1@1 {"a":[1]}`}, ""},
		{"null is empty", "/o", `{"o":null}`, nil, ""},
		{"broken elements", "", `[{"a":1,"a":2},{"a":01},{"b":"` + "\xff" + `"},{"a":1}]`, []string{"1@1 !invalid_json", "2@1 !invalid_json", "3@1 !invalid_json", `4@1 {"a":1}`}, ""},
		{"deep element", "", "[" + strings.Repeat("[", 65) + strings.Repeat("]", 65) + ",1]", []string{"1@1 !invalid_json", `2@1 {"value":1}`}, ""},
		{"crossed brackets", "", `[{"a":[1}],2]`, []string{"1@1 !invalid_json", `2@1 {"value":2}`}, ""},
		{"trailing comma", "", "[1,]", []string{`1@1 {"value":1}`}, rows.Malformed},
		{"no comma", "", "[1 2]", []string{`1@1 {"value":1}`}, rows.Malformed},
		{"leading comma", "", "[,1]", nil, rows.Malformed},
		{"cut off in an element", "", "[1,\n{\"a", []string{`1@1 {"value":1}`}, rows.Truncated},
		{"cut off behind one", "", "[1,", []string{`1@1 {"value":1}`}, rows.Truncated},
		{"cut off behind the list", "/a", `{"a":[1]`, []string{`1@1 {"value":1}`}, rows.Truncated},
		{"empty", "", "", nil, rows.Truncated},
		{"two documents", "", "[1] [2]", []string{`1@1 {"value":1}`}, rows.Malformed},
		{"a text", "", `"x"`, nil, rows.WrongFormat},
		{"a number below", "/a/b", `{"a":{"b":1}}`, nil, rows.WrongFormat},
		{"not a list on the way", "/a/b", `{"a":[{"b":[]}]}`, nil, rows.WrongFormat},
		{"not there", "/a/b", `{"a":{"c":[]}}`, nil, rows.NotFound},
		{"twice on the way", "/a", `{"a":[1],"a":[2]}`, []string{`1@1 {"value":1}`}, rows.Malformed},
		{"twice by escapes", "/a", `{"x":1,"\u0078":2}`, nil, rows.Malformed},
		{"broken beside", "/a", `{"x":tru,"a":[1]}`, nil, rows.Malformed},
		{"crossed beside", "/a", `{"x":[{]},"a":[1]}`, nil, rows.Malformed},
		{"deep beside", "/a", `{"x":` + strings.Repeat("[", 70_000), nil, rows.TooDeep},
		{"deep and endless", "", strings.Repeat("[", 70_000), nil, rows.Truncated},
		{"CSV", "", "a,b\n1,2\n", nil, rows.WrongFormat},
		{"no key", "/a", `{a:1}`, nil, rows.Malformed},
		{"no colon", "/a", `{"a" 1}`, nil, rows.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := list(c.items)(iotest.OneByteReader(strings.NewReader(c.data)), maxRow, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := rowstest.All(r)
			e, failed := errors.AsType[*rows.FileError](err)
			if !failed && err != io.EOF || failed != (c.end != "") || failed && (e.Code != c.end || e.Message == "") {
				t.Errorf("ended with %v, want %q", err, c.end)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if _, again := r.Next(); !errors.Is(again, err) {
				t.Errorf("then %v, after %v", again, err)
			}
			rowstest.Resume(t, []byte(c.data), maxRow, list(c.items))
		})
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	data := "\xef\xbb\xbf{\"a\": 1}\r\n\n  [1,2] \nbroken\n{\"a\":1,\"a\":2}\n\"" + strings.Repeat("x", 100) + "\"\n\xff\nnull"
	r, err := lines(strings.NewReader(data), 64, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rowstest.All(r)
	want := []string{`1@1 {"a": 1}`, `2@3 {"value":[1,2]}`, "3@4 !invalid_json", "4@5 !invalid_json", "5@6 !row_too_long", "6@7 !invalid_json", `7@8 {"value":null}`}
	if err != io.EOF || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
	rowstest.Resume(t, []byte(data), 64, lines)
}

func TestTooLongElements(t *testing.T) {
	t.Parallel()
	data := `[{"a":"` + strings.Repeat("x", 200_000) + `]"},{"b":2},` + strings.Repeat("1", 200) + `,"z"]`
	r, err := list("")(strings.NewReader(data), 64, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := rowstest.All(r)
	if want := []string{"1@1 !row_too_long", `2@1 {"b":2}`, "3@1 !row_too_long", `4@1 {"value":"z"}`}; err != io.EOF || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	rowstest.Resume(t, []byte(data), 64, list(""))
	for name, open := range map[string]rowstest.Opener{"list": list(""), "lines": lines} {
		r, err := open(io.MultiReader(strings.NewReader(`["`), &endless{left: 70 << 20}), 64, nil)
		if err == nil {
			_, err = rowstest.All(r)
		}
		if e, ok := errors.AsType[*rows.FileError](err); !ok || e.Code != rows.TooLarge {
			t.Errorf("%s: an endless element ends with %v", name, err)
		}
	}
}

type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	n := min(len(p), e.left)
	if n == 0 {
		return 0, io.EOF
	}
	copy(p, bytes.Repeat([]byte("x"), n))
	e.left -= n
	return n, nil
}

func TestSourceErrorsAreNotTheEnd(t *testing.T) {
	t.Parallel()
	cut := errors.New("cable cut")
	for name, open := range map[string]rowstest.Opener{"list": list("/a"), "lines": lines} {
		for _, data := range []string{"", `{"a":`, `{"a":[1,2`, `{"a":[1]}`, "{\"a\":[1]}\n"} {
			r, err := open(io.MultiReader(strings.NewReader(data), iotest.ErrReader(cut)), maxRow, nil)
			if err == nil {
				_, err = rowstest.All(r)
			}
			if !errors.Is(err, cut) {
				t.Errorf("%s of %q: %v", name, data, err)
			}
		}
	}
}

func TestResumeAtEveryMark(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{"{", "}", "[", "]", ",", ":", "1", `"a"`, `"b"`, `"a":[`, `{"a":`, "null", " ", "\n", `"x]"`, `{"a":1}`, "{},", `\`, `"`})
	rapid.Check(t, func(t *rapid.T) {
		data := []byte(strings.Join(rapid.SliceOfN(piece, 0, 30).Draw(t, "data"), ""))
		rowstest.Resume(t, data, 16, list(rapid.SampledFrom([]string{"", "/a", "/a/*", "/a/b"}).Draw(t, "items")))
		rowstest.Resume(t, data, 16, lines)
	})
}

// What the list gives of a document is what encoding/json finds in it.
func TestAgainstEncodingJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		elements := rapid.SliceOfN(rapid.MapOf(rapid.String(), rapid.OneOf(rapid.Map(rapid.String(), func(s string) any { return s }), rapid.Map(rapid.Int(), func(i int) any { return i }))), 0, 8).Draw(t, "elements")
		data, err := json.MarshalIndent(map[string]any{"a": []any{1, "]"}, "items": elements, "z": map[string]any{"items": []any{}}}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		r, err := jsonrows.New(iotest.HalfReader(bytes.NewReader(data)), &integration.JSON{Items: "/items"}, maxRow, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range elements {
			row, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(row.Body, &got); err != nil || fmt.Sprint(got) != fmt.Sprint(floats(want)) {
				t.Fatalf("element %d: %v, want %v (%v)", i, got, want, err)
			}
		}
		if _, err := r.Next(); err != io.EOF {
			t.Fatal(err)
		}
	})
}

func floats(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		if i, ok := v.(int); ok {
			v = float64(i)
		}
		out[k] = v
	}
	return out
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"a":[{"x":1},2]}`), "/a")
	f.Add([]byte(`[[1,"]"],null]`), "/*")
	f.Add([]byte("{}\n[1\n\"\\u12\"\n"), "")
	f.Fuzz(func(t *testing.T, data []byte, items string) {
		if _, err := integration.SplitPointer(items); err != nil {
			return
		}
		data = data[:min(len(data), 2048)]
		rowstest.Resume(t, data, 32, list(items))
		rowstest.Resume(t, data, 32, lines)
	})
}
