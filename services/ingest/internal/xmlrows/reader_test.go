package xmlrows_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xmlrows"
)

const maxRow = 1 << 20

// read gives each row as "number@line body", broken rows with their code, and why
// the file ended.
func read(t *testing.T, src io.Reader, f *integration.XML, limit int, from *rows.Mark) ([]string, error) {
	t.Helper()
	r, err := xmlrows.New(src, f, limit, from)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // nothing to fail
	var out []string
	for {
		row, err := r.Next()
		var broken *rows.RowError
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case errors.As(err, &broken):
			out = append(out, fmt.Sprintf("%d@%d !%s", broken.Number, broken.Line, broken.Code))
			if len(broken.Raw) == 0 || len(broken.Raw) > 4<<10 || broken.Message == "" {
				t.Errorf("broken row %d shows %d bytes", broken.Number, len(broken.Raw))
			}
		case err != nil:
			if _, again := r.Next(); !errors.Is(again, err) {
				t.Errorf("after %v came %v", err, again)
			}
			return out, err
		default:
			value, err := integration.DecodeJSON(row.Body)
			if err != nil || !reflect.DeepEqual(value, row.Value) {
				t.Fatalf("%s is decoded as %v (%v), given as %v", row.Body, value, err, row.Value)
			}
			out = append(out, fmt.Sprintf("%d@%d %s", row.Number, row.Line, row.Body))
		}
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	const uri = "urn:x"
	for _, c := range []struct {
		name, in string
		f        integration.XML
		want     []string
	}{
		{"of the package comment", `<Orders><Order id="7"><Line>a</Line><Line qty="2">b</Line><Note/></Order></Orders>`, integration.XML{},
			[]string{`1@1 {"@id":"7","Line":["a",{"@qty":"2","#text":"b"}],"Note":""}`}},
		{"children of the root", "<r>\n<a>x</a>\n<b k='1'/>text\n</r>", integration.XML{}, []string{`1@2 {"#text":"x"}`, `2@3 {"@k":"1"}`}},
		{"empty record", "<r><a/></r>", integration.XML{}, []string{`1@1 {}`}},
		{"no records", "<r/>", integration.XML{}, nil},
		{"text as it stands", "<r><a><b> x\ty </b><c> </c></a></r>", integration.XML{}, []string{`1@1 {"b":" x\ty ","c":" "}`}},
		{"mixed text", "<r><a> x <b>y</b> z </a></r>", integration.XML{}, []string{`1@1 {"#text":"x  z","b":"y"}`}},
		{"list where its first stands", "<r><a><b>1</b><c>2</c><b>3</b></a></r>", integration.XML{}, []string{`1@1 {"b":["1","3"],"c":"2"}`}},
		{"list of objects", `<r><a><b><c>1</c></b><b/></a></r>`, integration.XML{}, []string{`1@1 {"b":[{"c":"1"},""]}`}},
		{"escapes", `<r><a k="&quot;\&#10;">&lt;&#13;😀</a></r>`, integration.XML{}, []string{`1@1 {"@k":"\"\\\n","#text":"<\r😀"}`}},
		{"CDATA, comment, instruction", "<r><a>x<![CDATA[<&]]><!-- c -->y<?p?></a></r>", integration.XML{}, []string{`1@1 {"#text":"x<&y"}`}},
		{"by name anywhere", "<r><x><a>1</a></x><a>2</a><A>3</A></r>", integration.XML{Record: "a"}, []string{`1@1 {"#text":"1"}`, `2@1 {"#text":"2"}`}},
		{"the root", "<a><b>1</b></a>", integration.XML{Record: "a"}, []string{`1@1 {"b":"1"}`}},
		{"by path", "<r><x><a>1</a></x><a>2</a><y><a>3</a></y><x><z><a>4</a></z><a>5</a></x></r>", integration.XML{Record: "/r/x/a"},
			[]string{`1@1 {"#text":"1"}`, `2@1 {"#text":"5"}`}},
		{"path of another root", "<q><x/></q>", integration.XML{Record: "/r/x"}, nil},
		{"records in records", "<r>\n<a><n>1</n>\n<a><n>2</n></a><a><n>3</n>\n<a/></a></a></r>", integration.XML{Record: "a"}, []string{
			`1@2 {"n":"1","a":[{"n":"2"},{"n":"3","a":""}]}`, `2@3 {"n":"2"}`, `3@3 {"n":"3","a":""}`, `4@4 {}`}},
		{"any namespace", `<r xmlns:p="urn:x"><p:a p:k="1">1</p:a><a>2</a></r>`, integration.XML{Record: "a"}, []string{`1@1 {"@k":"1","#text":"1"}`, `2@1 {"#text":"2"}`}},
		{"one namespace", `<r xmlns:p="urn:x"><p:a p:k="1" k="2">1</p:a><a>2</a></r>`,
			integration.XML{Record: "o:a", Namespaces: map[string]string{"o": uri}}, []string{`1@1 {"@o:k":"1","@k":"2","#text":"1"}`}},
		{"namespaces on a path", `<r xmlns="urn:x"><a xmlns="">1</a><a>2</a></r>`,
			integration.XML{Record: "/o:r/o:a", Namespaces: map[string]string{"o": uri}}, []string{`1@1 {"#text":"2"}`}},
		{"attributes of one name", `<r xmlns:p="urn:x"><a p:k="1" l="2" k="3"/></r>`, integration.XML{}, []string{`1@1 {"@k":["1","3"],"@l":"2"}`}},
		{"entities", `<!DOCTYPE r [<!ENTITY e "x<b>y</b>">]><r><a k="&#38;">&e;&e;</a></r>`, integration.XML{}, []string{`1@1 {"@k":"&","#text":"xx","b":["y","y"]}`}},
	} {
		got, err := read(t, strings.NewReader(c.in), &c.f, maxRow, nil)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\ngot  %q (%v)\nwant %q", c.name, got, err, c.want)
		}
		slow, err := read(t, iotest.OneByteReader(strings.NewReader(c.in)), &c.f, maxRow, nil)
		if err != nil || !reflect.DeepEqual(slow, c.want) {
			t.Errorf("%s, one byte at a time: %q (%v)", c.name, slow, err)
		}
	}
}

func TestBrokenRecordsDoNotStopTheFile(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("<x>", 70) + strings.Repeat("</x>", 70)
	lists := strings.Repeat("<x><y/>", 40) + strings.Repeat("</x><x/>", 39) + "</x>"
	many := strings.Repeat("<x/>", 100_001)
	in := "<r>\n<a>1</a>\n<a>" + strings.Repeat("long ", 1000) + "\n</a>\n<a>" + deep + "</a>\n<a>" + many + "</a><a>" + lists + "</a><a k='" + strings.Repeat(`"`, 3000) + "'/><a>2</a></r>"
	f := &integration.XML{MaxDepth: 200}
	got, err := read(t, strings.NewReader(in), f, 4000, nil)
	want := []string{`1@2 {"#text":"1"}`, "2@3 !row_too_long", "3@5 !too_deep", "4@6 !row_too_long", "5@6 !too_deep", "6@6 !row_too_long", `7@6 {"#text":"2"}`}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
	got, err = read(t, strings.NewReader(in), f, maxRow, nil)
	if err != nil || len(got) != 7 || got[3] != "4@6 !too_large" {
		t.Errorf("got %.200q (%v)", got, err)
	}
}

func TestRecordsBeforeTheBreakAreGiven(t *testing.T) {
	t.Parallel()
	for in, code := range map[string]rows.Code{
		"<r><a>1</a>\n<a>2</a>\n<a>x</b></r>":                rows.Malformed,
		"<r><a>1</a>\n<a>2</a>\n<a>x":                        rows.Truncated,
		"<r><a>1</a>\n<a>2</a>\n<a>\xff</a></r>":             rows.InvalidBytes,
		"<r><a>1</a>\n<a>2</a>\n" + strings.Repeat("<a>", 9): rows.TooDeep,
		"<r><a>1</a>\n<a>2</a>\n</r><r>":                     rows.Malformed,
	} {
		got, err := read(t, strings.NewReader(in), &integration.XML{MaxDepth: 8}, maxRow, nil)
		var fileErr *rows.FileError
		if !errors.As(err, &fileErr) || fileErr.Code != code || fileErr.Line != 3 || len(got) != 2 {
			t.Errorf("%.40q: got %q and %v", in, got, err)
		}
	}
}

// endless repeats a text for ever.
type endless struct {
	text string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.text[e.at]
		e.at = (e.at + 1) % len(e.text)
	}
	return len(p), nil
}

func TestEndlessIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		head, text string
		code       rows.Code
	}{
		"record":    {"<r><a>", "text ", rows.TooLarge},
		"children":  {"<r><a>", "<b/>", rows.TooLarge},
		"comment":   {"<r><!-- ", "x", rows.TooLarge},
		"nesting":   {"", "<a>", rows.TooDeep},
		"value":     {"<r k='", "x", rows.TooLarge},
		"name":      {"<", "x", rows.TooLarge},
		"attribute": {"<r", " a='1' ", rows.Malformed},
		"DTD":       {"<!DOCTYPE r [", "<!ENTITY e 'x'>", rows.TooLarge},
		"literal":   {"<!DOCTYPE r [<!ENTITY e '", "x", rows.TooLarge},
		"model":     {"<!DOCTYPE r [<!ELEMENT e (a", "|a", rows.TooLarge},
	} {
		_, err := read(t, io.MultiReader(strings.NewReader(c.head), &endless{text: c.text}), &integration.XML{}, maxRow, nil)
		var fileErr *rows.FileError
		if name == "attribute" { // the second one is there twice already, at the latest the bound holds
			if !errors.As(err, &fileErr) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.As(err, &fileErr) || fileErr.Code != c.code {
			t.Errorf("%s: got %v, want %s", name, err, c.code)
		}
	}
}

func TestWrongPathIsAnError(t *testing.T) {
	t.Parallel()
	for _, record := range []string{"a/b", "p:a", "/", "//a", "a[1]", "@a"} {
		if _, err := xmlrows.New(strings.NewReader("<a/>"), &integration.XML{Record: record}, maxRow, nil); err == nil {
			t.Errorf("%q was taken", record)
		}
	}
}

func TestInspection(t *testing.T) {
	t.Parallel()
	r, err := xmlrows.New(strings.NewReader(`<?xml version="1.0" encoding="utf-8"?><r xmlns="u"><a><b/></a></r>`), &integration.XML{}, maxRow, nil)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = r.Next()
	}
	local, space := r.Root()
	if local != "r" || space != "u" || r.Elements() != 3 || r.Encoding() != "utf-8" {
		t.Errorf("got %s %s %d %s", local, space, r.Elements(), r.Encoding())
	}
}

// document draws a file with records in records, broken ones and blanks.
func document(t *rapid.T) string {
	var b strings.Builder
	b.WriteString("<r>")
	for range rapid.IntRange(0, 12).Draw(t, "records") {
		b.WriteString(rapid.SampledFrom([]string{
			"\n", "<a>1</a>", "<a k='v'>\n<b>x</b></a>", "<a><a/><a>2</a></a>", "<a>" + strings.Repeat("y", 300) + "</a>", "<c/>",
			"<a><a>" + strings.Repeat("<b>z</b>", 12) + "</a>\n</a>",
		}).Draw(t, "part"))
	}
	b.WriteString("</r>")
	return b.String()
}

func TestResume(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		in, f := document(rt), &integration.XML{Record: rapid.SampledFrom([]string{"", "a", "/r/a"}).Draw(rt, "record")}
		all, err := read(t, strings.NewReader(in), f, 200, nil)
		if err != nil {
			rt.Fatal(err)
		}
		r, err := xmlrows.New(strings.NewReader(in), f, 200, nil)
		if err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(0, len(all)).Draw(rt, "done") {
			_, _ = r.Next() // broken ones are done too
		}
		mark := r.Mark()
		rest, err := read(t, strings.NewReader(in), f, 200, &mark)
		if err != nil || strings.Join(rest, "\n") != strings.Join(all[mark.Rows:], "\n") {
			rt.Fatalf("from %+v: %q (%v), want %q", mark, rest, err, all[mark.Rows:])
		}
		var fileErr *rows.FileError
		if _, err := read(t, strings.NewReader(in), f, 200, &rows.Mark{Rows: len(all) + 1}); !errors.As(err, &fileErr) || fileErr.Code != rows.MarkMismatch {
			rt.Fatalf("a mark behind the end: %v", err)
		}
	})
}

// generated writes many records without holding them.
type generated struct {
	n, of int
	left  []byte
}

func (g *generated) Read(p []byte) (int, error) {
	for len(g.left) == 0 {
		switch {
		case g.n > g.of+1:
			return 0, io.EOF
		case g.n == 0:
			g.left = []byte("<Orders>")
		case g.n == g.of+1:
			g.left = []byte("</Orders>")
		default:
			g.left = fmt.Appendf(nil, "<Order id=\"%d\"><Customer>Müller &amp; Co</Customer><Line sku=\"x-%d\">1</Line><Line sku=\"y\">2</Line></Order>\n", g.n, g.n)
		}
		g.n++
	}
	n := copy(p, g.left)
	g.left = g.left[n:]
	return n, nil
}

//nolint:paralleltest // it measures the memory of the process
func TestMemoryIsConstant(t *testing.T) {
	const records, limit = 200_000, 16 << 20
	r, err := xmlrows.New(&generated{of: records}, &integration.XML{}, maxRow, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, most := 0, uint64(0)
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n++; n%20_000 == 0 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
		}
	}
	if n != records || most > limit {
		t.Errorf("%d records, %d bytes held", n, most)
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{`<r><a k="1">x<b/></a><a/></r>`, "<r xmlns:p='u'><p:a p:k='1' k='2'><a><a/></a></p:a></r>",
		`<!DOCTYPE r [<!ENTITY e "x<b>y</b>">]><r><a>&e;</a></r>`, "\xff\xfe<\x00r\x00/\x00>\x00"} {
		f.Add([]byte(seed), "a")
		f.Add([]byte(seed), "")
	}
	f.Fuzz(func(t *testing.T, in []byte, record string) {
		x := &integration.XML{Record: record, MaxDepth: 80, Namespaces: map[string]string{"p": "u"}}
		if _, _, err := x.Steps(); err != nil {
			return
		}
		got, err := read(t, bytes.NewReader(in), x, 300, nil)
		var fileErr *rows.FileError
		if err != nil && !errors.As(err, &fileErr) {
			t.Fatalf("%T %v", err, err)
		}
		if err == nil && len(got) > 0 {
			rest, err := read(t, bytes.NewReader(in), x, 300, &rows.Mark{Rows: 1})
			if err != nil || strings.Join(rest, "\n") != strings.Join(got[1:], "\n") {
				t.Fatalf("resumed: %q %v, want %q", rest, err, got[1:])
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	size, err := io.Copy(io.Discard, &generated{of: 10_000})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for range b.N {
		r, err := xmlrows.New(&generated{of: 10_000}, &integration.XML{}, maxRow, nil)
		for err == nil {
			_, err = r.Next()
		}
	}
}
