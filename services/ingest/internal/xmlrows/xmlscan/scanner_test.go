package xmlscan_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xmlrows/xmlscan"
)

// transcript writes a document's tokens: <a k="v">text</a>, names with their
// namespaces in braces.
func transcript(src io.Reader) (string, error) {
	s, err := xmlscan.Open(src, xmlscan.Options{MaxDepth: 16})
	if err != nil {
		return "", err
	}
	var out strings.Builder
	name := func(n xmlscan.Name) string {
		if n.Space != "" {
			return "{" + n.Space + "}" + n.Local
		}
		return n.Local
	}
	for {
		t, err := s.Next()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), err
		}
		switch t.Kind {
		case xmlscan.Start:
			out.WriteString("<" + name(t.Name))
			for _, a := range t.Attrs {
				fmt.Fprintf(&out, " %s=%q", name(a.Name), a.Value)
			}
			out.WriteString(">")
		case xmlscan.End:
			out.WriteString("</" + name(t.Name) + ">")
		case xmlscan.Text:
			out.Write(t.Text)
		}
	}
}

func TestWellFormed(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 50_000)
	for _, c := range []struct{ name, in, want string }{
		{"empty element", `<a/>`, `<a></a>`},
		{"declaration", `<?xml version="1.0" standalone='no' ?><a/>`, `<a></a>`},
		{"prolog and epilog", "<!-- x -->\n<?p?><a/><!-- y -->\n<?q r?>\n", `<a></a>`},
		{"CDATA", `<a><![CDATA[<b>&amp;]]]]><![CDATA[>]]></a>`, `<a><b>&amp;]]></a>`},
		{"references", `<a k="&lt;&#65;&#x42;&quot;">&gt;&amp;&apos;&#13;</a>`, "<a k=\"<AB\\\"\">>&'\r</a>"},
		{"line ends", "<a k=\"1\r\n2\r3\t4\">x\r\ny\rz\r\n</a>", "<a k=\"1 2 3 4\">x\ny\nz\n</a>"},
		{"character as attribute", `<a k="&#10;&#9;x"/>`, `<a k="\n\tx"></a>`},
		{"comment parts text", `<a>x<!-- - -->y</a>`, `<a>xy</a>`},
		{"names", `<é.1-_ ·="1"/>`, ""},
		{"names of other scripts", `<日本 属性="1"/>`, `<日本 属性="1"></日本>`},
		{"blanks in tags", "<a\n k = '1'\t></a\n>", `<a k="1"></a>`},
		{"namespaces", `<p:a xmlns:p="u" xmlns="d" p:k="1" k="2"><b/><c xmlns=""/></p:a>`, `<{u}a {u}k="1" k="2"><{d}b></{d}b><c></c></{u}a>`},
		{"xml prefix", `<a xml:lang="de"/>`, `<a {http://www.w3.org/XML/1998/namespace}lang="de"></a>`},
		{"prefix ends with its element", `<a xmlns:p="u"><b xmlns:p="v"><p:c/></b><p:d/></a>`, `<a><b><{v}c></{v}c></b><{u}d></{u}d></a>`},
		{"entity", `<!DOCTYPE a [<!ENTITY e "x&#38;amp;y">]><a k="&e;">&e;</a>`, `<a k="x&y">x&y</a>`},
		{"entity with markup", `<!DOCTYPE a [<!ENTITY e "x<b>y</b>">]><a>&e;z</a>`, `<a>x<b>y</b>z</a>`},
		{"entity in entity", `<!DOCTYPE a [<!ENTITY e "[&f;]"><!ENTITY f "g">]><a>&e;&e;</a>`, `<a>[g][g]</a>`},
		{"first entity binds", `<!DOCTYPE a [<!ENTITY e "1"><!ENTITY e "2">]><a>&e;</a>`, `<a>1</a>`},
		{"parameter entity", `<!DOCTYPE a [<!ENTITY % p "<!ENTITY e 'x'>">%p;]><a>&e;</a>`, `<a>x</a>`},
		{"parameter entity of the recommendation", `<!DOCTYPE a [<!ENTITY % xx '&#37;zz;'><!ENTITY % zz '&#60;!ENTITY tricky "error-prone" >'>%xx;]><a>&tricky;</a>`, `<a>error-prone</a>`},
		{"external parameter entity", `<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:1/x">%p;]><a/>`, `<a></a>`},
		{"external DTD", `<!DOCTYPE a PUBLIC "-//X" "http://127.0.0.1:1/x.dtd"><a/>`, `<a></a>`},
		{"default attribute", `<!DOCTYPE a [<!ATTLIST a k CDATA "d" l NMTOKENS #FIXED " p  q " m (x|1) #IMPLIED>]><a/>`, `<a k="d" l="p q"></a>`},
		{"default namespace", `<!DOCTYPE a [<!ATTLIST a xmlns CDATA #FIXED "u">]><a k="1"/>`, `<{u}a k="1"></{u}a>`},
		{"tokens of an attribute", `<!DOCTYPE a [<!ATTLIST a k NMTOKENS #IMPLIED>]><a k=" p  q "/>`, `<a k="p q"></a>`},
		{"tokens with tabs by number", `<!DOCTYPE a [<!ATTLIST a k NMTOKENS #IMPLIED>]><a k=" p&#9;&#x20; q&#10; "/>`, `<a k="p\t q\n"></a>`},
		{"a long name", "<" + long + "/>", "<" + long + "></" + long + ">"},
		{"content models", `<!DOCTYPE a [<!ELEMENT a ((b|c)+,(d?,e)*)><!ELEMENT b EMPTY><!ELEMENT c ANY><!ELEMENT d (#PCDATA | x)*><!NOTATION n PUBLIC "x">]><a/>`, `<a></a>`},
		{"brackets in text", `<a>]] > ]></a>`, `<a>]] > ]></a>`},
	} {
		for _, slow := range []bool{false, true} {
			var src io.Reader = strings.NewReader(c.in)
			if slow {
				src = iotest.OneByteReader(src)
			}
			got, err := transcript(src)
			if c.want == "" {
				if err == nil {
					t.Errorf("%s: accepted", c.name)
				}
				continue
			}
			if err != nil || got != c.want {
				t.Errorf("%s (one byte at a time: %v): got %q and %v, want %q", c.name, slow, got, err, c.want)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	nested := strings.Repeat("<a>", 17)
	for _, c := range []struct {
		name, in string
		code     rows.Code
		says     string
	}{
		{"nothing", "", rows.WrongFormat, "empty"},
		{"blanks", " \n", rows.Truncated, "before its first element"},
		{"another format", "id;name\n1;x\n", rows.WrongFormat, "another format"},
		{"cut in an element", "<a><b>x", rows.Truncated, `"b"`},
		{"cut in a tag", "<a k=", rows.Truncated, "send it whole"},
		{"cut in a value", `<a k="x`, rows.Truncated, ""},
		{"cut in CDATA", "<a><![CDATA[x", rows.Truncated, "CDATA"},
		{"cut in a comment", "<a><!-- x", rows.Truncated, "comment"},
		{"cut in a DTD", "<!DOCTYPE a [<!ENT", rows.Truncated, "DTD"},
		{"second root", "<a/><b/>", rows.Malformed, "second root"},
		{"text behind", "<a/>x", rows.Malformed, "after the end"},
		{"reference behind", "<a/>&#32;", rows.Malformed, "outside"},
		{"CDATA behind", "<a/><![CDATA[]]>", rows.Malformed, "outside"},
		{"wrong end", "<a><b></a></b>", rows.Malformed, `"b" should`},
		{"end alone", "</a>", rows.Malformed, "did not begin"},
		{"attribute twice", `<a k="1" k="2"/>`, rows.Malformed, "twice"},
		{"attribute twice by namespace", `<a xmlns:p="u" xmlns:q="u" p:k="1" q:k="2"/>`, rows.Malformed, "twice"},
		{"no quotes", `<a k=1/>`, rows.Malformed, "quotes"},
		{"no blank", `<a k="1"l="2"/>`, rows.Malformed, "blank"},
		{"less-than in a value", `<a k="<"/>`, rows.Malformed, "&lt;"},
		{"ampersand", `<a>x & y</a>`, rows.Malformed, "&amp;"},
		{"undeclared entity", `<a>&nbsp;</a>`, rows.Malformed, "not declared"},
		{"undeclared prefix", `<a p:k="1"/>`, rows.Malformed, "xmlns:p"},
		{"two colons", `<a:b:c xmlns:a="u"/>`, rows.Malformed, "prefix:name"},
		{"empty namespace", `<a xmlns:p=""/>`, rows.Malformed, "without a namespace"},
		{"reserved prefix", `<a xmlns:xmlns="u"/>`, rows.Malformed, "reserved"},
		{"end of CDATA", `<a>]]></a>`, rows.Malformed, "]]&gt;"},
		{"comment with dashes", `<a><!-- x -- y --></a>`, rows.Malformed, "--"},
		{"control character", "<a>\x01</a>", rows.Malformed, "0x01"},
		{"control character by number", "<a>&#1;</a>", rows.Malformed, "no character"},
		{"surrogate by number", "<a>&#xD800;</a>", rows.Malformed, "no character"},
		{"number too large", "<a>&#99999999999;</a>", rows.Malformed, "no character"},
		{"noncharacter", "<a>\uFFFF</a>", rows.Malformed, "U+FFFF"},
		{"not UTF-8", "<a>\xff</a>", rows.InvalidBytes, "0xff"},
		{"cut UTF-8", "<a>\xc3</a>", rows.InvalidBytes, "0xc3"},
		{"declaration not first", "\n<?xml version=\"1.0\"?><a/>", rows.Malformed, "not the first"},
		{"declaration without version", `<?xml encoding="utf-8"?><a/>`, rows.Malformed, "encoding"},
		{"unknown encoding", `<?xml version="1.0" encoding="klingon"?><a/>`, rows.UnknownCharset, "klingon"},
		{"bytes of another encoding", "<?xml version=\"1.0\" encoding=\"shift_jis\"?><a>\xa0</a>", rows.InvalidBytes, "declared encoding"},
		{"UTF-32", "\xff\xfe\x00\x00<\x00\x00\x00", rows.Unsupported, "UTF-32"},
		{"EBCDIC", "\x4c\x6f\xa7\x94", rows.Unsupported, "EBCDIC"},
		{"half of UTF-16", "\xff\xfe<\x00a\x00/\x00>\x00 ", rows.InvalidBytes, "UTF-16"},
		{"lone surrogate", "\xfe\xff\x00<\x00a\x00>\xd8\x00\x00<", rows.InvalidBytes, "UTF-16"},
		{"too deep", nested, rows.TooDeep, "16 deep"},
		{"long name", "<" + strings.Repeat("a", 50_001) + "/>", rows.TooLarge, "50000 bytes"},
		{"long names", "<a" + manyAttributesOf(strings.Repeat("n", 40_000), 30) + "/>", rows.TooLarge, "names of the attributes"},
		{"many default attributes", "<!DOCTYPE a [<!ATTLIST b" + strings.ReplaceAll(manyAttributes(250), "=", " CDATA ") + ">]><a>" + strings.Repeat("<b/>", 300) + "</a>", rows.Bomb, "times the file"},
		{"many attributes", "<a" + manyAttributes(1001) + "/>", rows.TooLarge, "1000 attributes"},
		{"long value", `<a k="` + strings.Repeat("x", 1<<20+1) + `"/>`, rows.TooLarge, "attributes"},
		{"long DTD", "<!DOCTYPE a [" + strings.Repeat("<!ENTITY e 'x'>\n", 80_000) + "]><a/>", rows.TooLarge, "DTD"},
		{"DOCTYPE twice", "<!DOCTYPE a><!DOCTYPE a><a/>", rows.Malformed, "once"},
		{"broken content model", "<!DOCTYPE a [<!ELEMENT a (b |c * >]><a/>", rows.Malformed, "ELEMENT"},
		{"mixed separators", "<!DOCTYPE a [<!ELEMENT a (b|c,d)>]><a/>", rows.Malformed, "ELEMENT"},
		{"deep content model", "<!DOCTYPE a [<!ELEMENT a " + strings.Repeat("(", 200) + "b", rows.TooDeep, "groups"},
		{"external entity", `<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>`, rows.Unsupported, "never fetched"},
		{"external entity in a value", `<!DOCTYPE a [<!ENTITY e SYSTEM "x">]><a k="&e;"/>`, rows.Malformed, "another file"},
		{"unparsed entity", `<!DOCTYPE a [<!NOTATION n SYSTEM "n"><!ENTITY e SYSTEM "x" NDATA n>]><a>&e;</a>`, rows.Malformed, "no text"},
		{"entity of itself", `<!DOCTYPE a [<!ENTITY e "&f;"><!ENTITY f "&e;">]><a>&e;</a>`, rows.Malformed, "itself"},
		{"parameter entity of itself", `<!DOCTYPE a [<!ENTITY % p "&#37;p;">%p;]><a/>`, rows.Malformed, "itself"},
		{"entity across elements", `<!DOCTYPE a [<!ENTITY e "<b>">]><a>&e;</b></a>`, rows.Malformed, "does not end"},
		{"entity ends an element", `<!DOCTYPE a [<!ENTITY e "</b>">]><a><b>&e;</a>`, rows.Malformed, "did not begin"},
		{"less-than by entity in a value", `<!DOCTYPE a [<!ENTITY e "<">]><a k="&e;"/>`, rows.Malformed, "&lt;"},
		{"billion laughs", laughs(40, "x"), rows.Bomb, "not read on"},
		{"billion empty laughs", laughs(40, ""), rows.Bomb, "not read on"},
		{"laughs in a value", strings.Replace(laughs(28, "ha"), "<a>&l28;</a>", `<a k="&l28;"/>`, 1), rows.Bomb, "not read on"},
		{"quadratic", `<!DOCTYPE a [<!ENTITY e "` + strings.Repeat("x", 100_000) + `">]><a>` + strings.Repeat("&e;", 50_000) + "</a>", rows.Bomb, "times the file"},
		{"default attributes", `<!DOCTYPE a [<!ATTLIST b k CDATA "` + strings.Repeat("x", 100_000) + `">]><a>` + strings.Repeat("<b/>", 50_000) + "</a>", rows.Bomb, "times the file"},
	} {
		_, err := transcript(strings.NewReader(c.in))
		var fileErr *rows.FileError
		if !errors.As(err, &fileErr) || fileErr.Code != c.code || !strings.Contains(fileErr.Message, c.says) {
			t.Errorf("%s: got %v, want %s with %q", c.name, err, c.code, c.says)
		}
	}
}

func manyAttributes(n int) string { return manyAttributesOf("k", n) }

func manyAttributesOf(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ` %s%d="v"`, name, i)
	}
	return b.String()
}

// laughs doubles a text n times.
func laughs(n int, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!DOCTYPE a [<!ENTITY l0 %q>", text)
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, `<!ENTITY l%d "&l%d;&l%d;">`, i, i-1, i-1)
	}
	fmt.Fprintf(&b, "]><a>&l%d;</a>", n)
	return b.String()
}

func TestEncodings(t *testing.T) {
	t.Parallel()
	wide := func(text string, big, mark bool) string {
		var b []byte
		if mark {
			text = "\uFEFF" + text
		}
		for _, u := range utf16.Encode([]rune(text)) {
			if big {
				b = append(b, byte(u>>8), byte(u))
			} else {
				b = append(b, byte(u), byte(u>>8))
			}
		}
		return string(b)
	}
	const declared = `<?xml version="1.0" encoding="UTF-16"?><a>é😀</a>`
	for _, c := range []struct{ name, in, text, encoding string }{
		{"UTF-8", "<a>é</a>", "é", "UTF-8"},
		{"UTF-8 with mark", "\xef\xbb\xbf<a>é</a>", "é", "UTF-8"},
		{"UTF-16 LE", wide(declared, false, true), "é😀", "UTF-16"},
		{"UTF-16 BE", wide(declared, true, true), "é😀", "UTF-16"},
		{"UTF-16 LE without mark", wide(declared, false, false), "é😀", "UTF-16"},
		{"UTF-16 BE without mark", wide(declared, true, false), "é😀", "UTF-16"},
		{"UTF-16 that is none", strings.ReplaceAll(declared, "😀", ""), "é", "UTF-16"},
		{"Latin 1", "<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9\x80</a>", "é€", "ISO-8859-1"},
		{"Latin 1 that is UTF-8", "<?xml version='1.0' encoding='ISO-8859-1'?><a>Á</a>", "Ã\u0081", "ISO-8859-1"},
		{"Cyrillic with controls", "<?xml version='1.0' encoding='iso-8859-5'?><a>\xb0\x85</a>", "А\u0085", "iso-8859-5"},
		{"Greek", "<?xml version='1.0' encoding='windows-1253'?><a>\xe1</a>", "α", "windows-1253"},
		{"Japanese", "<?xml version='1.0' encoding='Shift_JIS'?><a>\x93\xfa</a>", "日", "Shift_JIS"},
		{"code page", "<?xml version='1.0' encoding='ibm850'?><a>\x82</a>", "é", "ibm850"},
	} {
		s, err := xmlscan.Open(iotest.HalfReader(strings.NewReader(c.in)), xmlscan.Options{MaxDepth: 4})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var text bytes.Buffer
		for {
			token, err := s.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: %v", c.name, err)
				}
				break
			}
			text.Write(token.Text)
		}
		if text.String() != c.text || s.Encoding() != c.encoding {
			t.Errorf("%s: got %q in %s, want %q in %s", c.name, text.String(), s.Encoding(), c.text, c.encoding)
		}
	}
}

func TestSourceErrorIsGivenAsItIs(t *testing.T) {
	t.Parallel()
	broken := errors.New("the line was cut")
	_, err := transcript(io.MultiReader(strings.NewReader("<a>"+strings.Repeat("x", 3000)), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestRawAndLines(t *testing.T) {
	t.Parallel()
	s, err := xmlscan.Open(iotest.OneByteReader(strings.NewReader("<a>\n\n <b k='1'>\n<c/></b>\n<d/></a>")), xmlscan.Options{MaxDepth: 4})
	if err != nil {
		t.Fatal(err)
	}
	for {
		token, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if token.Kind == xmlscan.Start && token.Name.Local == "b" {
			if s.TagLine() != 3 {
				t.Errorf("line %d", s.TagLine())
			}
			s.Hold(true)
		}
		if token.Kind == xmlscan.End && token.Name.Local == "b" {
			break
		}
	}
	if got := string(s.Raw()); got != "<b k='1'>\n<c/></b>" {
		t.Errorf("raw %q", got)
	}
	s.Hold(false)
}

// FuzzAgainstStandard: what both this scanner and encoding/xml accept, they read
// alike, however the bytes arrive; and nothing but a named error refuses.
func FuzzAgainstStandard(f *testing.F) {
	for _, seed := range []string{
		`<a xmlns:p="u" p:k="1&lt;">x<![CDATA[y]]>&#65;<b/></a>`, "<a>\r\n<b k='\r\n'>\r</b></a>", laughs(5, "x"),
		`<!DOCTYPE a [<!ATTLIST a k CDATA "d"><!ELEMENT a (b|c)*>]><a/>`, "\xff\xfe<\x00a\x00/\x00>\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		ours, err := transcript(bytes.NewReader(in))
		slow, slowErr := transcript(iotest.OneByteReader(bytes.NewReader(in)))
		if ours != slow || (err == nil) != (slowErr == nil) {
			t.Fatalf("whole: %q %v, one byte at a time: %q %v", ours, err, slow, slowErr)
		}
		var fileErr *rows.FileError
		if err != nil && !errors.As(err, &fileErr) {
			t.Fatalf("%T: %v", err, err)
		}
		if err != nil || bytes.Contains(in, []byte("<!DOCTYPE")) || bytes.HasPrefix(in, []byte{0xff, 0xfe}) || bytes.HasPrefix(in, []byte{0xfe, 0xff}) || bytes.IndexByte(in, 0) >= 0 {
			return
		}
		if standard, ok := standardTexts(in); ok {
			if mine := ourTexts(t, in); mine != standard {
				t.Fatalf("ours %q, encoding/xml %q", mine, standard)
			}
		}
	})
}

// standardTexts gives the names and texts as encoding/xml reads them.
func standardTexts(in []byte) (string, bool) {
	d := xml.NewDecoder(bytes.NewReader(in))
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errors.New("not compared") }
	var out strings.Builder
	depth := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out.String(), true
		}
		if err != nil {
			return "", false
		}
		switch token := token.(type) {
		case xml.StartElement:
			depth++
			out.WriteString("<" + token.Name.Local)
			if len(token.Attr) > 0 {
				return "", false // it keeps the line ends of values
			}
		case xml.EndElement:
			depth--
			out.WriteString(">")
		case xml.CharData:
			if depth > 0 {
				out.Write(token)
			}
		}
	}
}

func ourTexts(t *testing.T, in []byte) string {
	s, err := xmlscan.Open(bytes.NewReader(in), xmlscan.Options{MaxDepth: 16})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for {
		token, err := s.Next()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token.Kind {
		case xmlscan.Start:
			out.WriteString("<" + token.Name.Local)
		case xmlscan.End:
			out.WriteString(">")
		case xmlscan.Text:
			out.Write(token.Text)
		}
	}
}
