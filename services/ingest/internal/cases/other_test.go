package cases_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"
)

func jsonExpect(records int, record, top, text string) string {
	return fmt.Sprintf(`{"records":%d,"record":%q,"top":%q,"sha256_records":%q}`, records, record, top, digest(text))
}

func xmlExpect(records, elements int, encoding, text string) string {
	return fmt.Sprintf(`{"root":"r","root_ns":null,"encoding":%q,"record":"(children of root)","records":%d,"elements":%d,"sha256_records":%q}`, encoding, records, elements, digest(text))
}

// utf16le is a text with its byte order mark.
func utf16le(text string) string {
	out := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(text)) {
		out = append(out, byte(unit), byte(unit>>8))
	}
	return string(out)
}

// What another parser does otherwise by its own rules is told, and is no difference.
func TestOtherRules(t *testing.T) {
	t.Parallel()
	const xmlSpec, entities = `{"kind":"xml","record":null}`, `{"kind":"xml","record":null,"entities":true}`
	withDTD := `<!DOCTYPE r [<!ENTITY e "put in"><!ATTLIST a k CDATA #FIXED "v">]><r><a>x&e;&lt;</a></r>`
	for name, c := range map[string]struct {
		file
		note string
	}{
		"a blank header":          {file{"csv/a.csv", "\n1,2\n", csvSpec, csvExpect(1, 0, 2, 0, digest("1\x1f2\x1e"), `[]`)}, ""},
		"a header of blank cells": {file{"csv/a.csv", "x\n,\n1,2\n", `{"kind":"csv","header":1}`, `{"records":1,"columns":2,"sha256_records":"` + digest("1\x1f2\x1e") + `","header":["",""],"duplicate_headers":[""],"blank_headers":2}`}, ""},
		"a wide header of blank":  {file{"csv/a.csv", strings.Repeat(",", 61) + "\n1" + strings.Repeat(",", 61) + "\n", `{"kind":"csv"}`, `{"records":1,"columns":62,"sha256_records":"` + digest("1"+strings.Repeat("\x1f", 61)+"\x1e") + `","header":["` + strings.Repeat(`","`, 59) + `","...2 more"],"duplicate_headers":[""],"blank_headers":62}`}, ""},
		"a Latin 1 header":        {file{"csv/a.csv", "\x92,b\n1,2\n", `{"kind":"csv","enc":"latin-1"}`, csvExpect(1, 0, 2, 0, digest("1\x1f2\x1e"), `["\u0092","b"]`)}, ""},
		"neither can decode it":   {file{"csv/a.csv", "a\n\x81\n", `{"kind":"csv","enc":"cp1252"}`, `{"oracle_error":"UnicodeDecodeError: ..."}`}, ""},
		"a codec's other name":    {file{"csv/a.csv", "a\n\xd5\n", `{"kind":"csv","enc":"cp858"}`, csvExpect(1, 0, 1, 0, digest("€\x1e"), `["a"]`)}, ""},
		"UTF-16 without a mark":   {file{"csv/a.csv", utf16le("a\n1\n")[2:], `{"kind":"csv","enc":"utf_16_le"}`, csvExpect(1, 0, 1, 0, digest("1\x1e"), `["a"]`)}, ""},
		"a list is one record":    {file{"json/a.json", `[1, {"b":2,"a":[]}]`, `{"kind":"json"}`, jsonExpect(1, "", "list", `[1, {"a": [], "b": 2}]`)}, ""},
		"a list below is one":     {file{"json/a.json", `{"o":{"l":[1,2]}}`, `{"kind":"json","record":"o.l"}`, jsonExpect(1, "o.l", "dict", `[1, 2]`)}, ""},
		"JSON in UTF-16":          {file{"json/a.json", utf16le(`{"a":"é"}`), `{"kind":"json","enc":"utf-16"}`, jsonExpect(1, "", "dict", `{"a": "é"}`)}, ""},
		"a repeated key":          {file{"json/a.json", `[{"a":1,"a":2}]`, `{"kind":"json","record":"[]"}`, jsonExpect(1, "[]", "list", `{"a": 2}`)}, "refused by choice"},
		"entities left out":       {file{"xml/a.xml", withDTD, xmlSpec, xmlExpect(1, 2, "UTF-8", `{"#text": "x<"}`)}, "without entities and defaults"},
		"defaults left out":       {file{"xml/a.xml", withDTD, entities, xmlExpect(1, 2, "UTF-8", `{"#text": "xput in<"}`)}, "without the defaults"},
		"all put in":              {file{"xml/a.xml", withDTD, entities, xmlExpect(1, 2, "UTF-8", `{"#text": "xput in<", "@k": "v"}`)}, ""},
		"XML in Latin 1":          {file{"xml/a.xml", "<?xml version='1.0' encoding='ISO-8859-1'?><r><a>\x92</a></r>", xmlSpec, xmlExpect(1, 2, "ISO-8859-1", `{"#text": "`+"\u0092"+`"}`)}, "control characters"},
	} {
		code, out, errs := run(t, c.file)
		if code != 0 || !strings.Contains(out, c.note) || c.note != "" && !strings.Contains(out, "note: ") {
			t.Errorf("%s: %d\n%s%s", name, code, out, errs)
		}
	}
}

// A wrong text stays a difference, however the document is read.
func TestOtherRulesDoNotHideDifferences(t *testing.T) {
	t.Parallel()
	const dtd = `<!DOCTYPE r [<!ENTITY e "put in">]>`
	for name, f := range map[string]file{
		"a text":            {"xml/a.xml", dtd + `<r><a>x&e;</a></r>`, `{"kind":"xml","record":null}`, xmlExpect(1, 2, "UTF-8", `{"#text": "y"}`)},
		"an entity":         {"xml/a.xml", dtd + `<r><a>x&e;</a></r>`, `{"kind":"xml","record":null,"entities":true}`, xmlExpect(1, 2, "UTF-8", `{"#text": "x"}`)},
		"an attribute":      {"xml/a.xml", `<r><a k="v"/></r>`, `{"kind":"xml","record":null}`, xmlExpect(1, 2, "UTF-8", `{"#text": ""}`)},
		"a blank header":    {"csv/a.csv", "\n1,2\n", csvSpec, csvExpect(1, 0, 2, 0, digest("1\x1f3\x1e"), `[]`)},
		"read, not refused": {"csv/a.csv", "a\n1\n", csvSpec, `{"oracle_error":"UnicodeDecodeError: ..."}`},
		"a list":            {"json/a.json", `[1,2]`, `{"kind":"json"}`, jsonExpect(1, "", "list", `[1, 3]`)},
		"two lists":         {"json/a.json", `[1,2]`, `{"kind":"json"}`, jsonExpect(2, "", "list", `[1, 2]`)},
		"one repeated":      {"json/a.json", `[{"a":1,"a":2},1]`, `{"kind":"json","record":"[]"}`, jsonExpect(1, "[]", "list", `1`)},
	} {
		if code, out, errs := run(t, f); code != 1 || !strings.Contains(out, "difference: "+f.name+": ") {
			t.Errorf("%s: %d\n%s%s", name, code, out, errs)
		}
	}
}

// Schemas of a suite are of the draft that the suite names, and so are those they
// refer to.
func TestSchemasOfOlderDrafts(t *testing.T) {
	t.Parallel()
	line := func(draft, schema, data string, valid bool) string {
		return fmt.Sprintf(`{"draft":%q,"file":"x.json","description":"d","schema":%s,"tests":[{"description":"t","data":%s,"valid":%v}]}`+"\n", draft, schema, data, valid)
	}
	suite := line("draft4", `{"maximum":3,"exclusiveMaximum":true}`, `3`, false) +
		line("draft7", `{"items":[{"type":"string"}]}`, `[1]`, false) +
		line("draft7", `{"$ref":"http://localhost:1234/list.json"}`, `[1]`, false) +
		line("draft2020-12", `{"prefixItems":[{"type":"string"}]}`, `[1]`, false)
	code, out, errs := run(t,
		file{"json/jsonschema-mixed.ndjson", suite, "", `{"groups":4,"tests":4}`},
		file{"json/jsonschema-remotes.ndjson", `{"uri":"http://localhost:1234/list.json","schema":{"items":[{"type":"string"}]}}` + "\n", "", `{"lines":1}`})
	if code != 0 {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
}
