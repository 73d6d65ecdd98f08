package cases

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/formats"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/charset"
)

// jsonExpect is what Python's json says of a document.
type jsonExpect struct {
	Records   int    `json:"records"`
	Record    string `json:"record"`
	Top       string `json:"top"`
	Digest    string `json:"sha256_records"`
	OracleErr string `json:"oracle_error"`
}

// jsonFile compares the records of a document, written as Python writes them.
func jsonFile(c Case) (out []string) {
	var want jsonExpect
	if err := strict(c.Expect, &want); err != nil {
		return []string{"what is expected cannot be read: " + err.Error()}
	}
	record := ""
	if c.Spec.Record != nil {
		record = *c.Spec.Record
	}
	items, _, broken, err := jsonItems(c, &integration.Format{JSON: &integration.JSON{Items: pointerOf(record)}})
	if want.OracleErr != "" {
		if err == nil && len(broken) == 0 {
			out = append(out, "read to its end, but the other parser says: "+want.OracleErr)
		}
		return out
	}
	if err != nil {
		return []string{"not read: " + err.Error()}
	}
	texts := make([]string, len(items))
	for i, raw := range items {
		if texts[i], err = pythonText(raw); err != nil {
			return []string{fmt.Sprintf("record %d: %v", i+1, err)}
		}
	}
	if len(broken) > 0 && len(texts)+len(broken) == want.Records && !slices.ContainsFunc(broken, func(s string) bool { return !strings.Contains(s, "is repeated") }) {
		c.Note("%d records are refused by choice: %s", len(broken), broken[0])
		return nil
	}
	if want.Records == 1 && c.isList(record) { // a list that is one record there is its elements here
		texts = []string{"[" + strings.Join(texts, ", ") + "]"}
	}
	sum := sha256.Sum256([]byte(strings.Join(texts, "\x1e")))
	differ(&out, "records", len(texts), want.Records)
	differ(&out, "record", record, want.Record)
	differ(&out, "top", topOf(c), want.Top)
	differ(&out, "sha256_records", hex.EncodeToString(sum[:]), want.Digest)
	return append(out, broken...)
}

// pointerOf gives the pointer of a path such as orders[].lines[].
func pointerOf(record string) string {
	var out strings.Builder
	for part := range strings.SplitSeq(strings.TrimSuffix(record, "[]"), ".") {
		name, every := strings.CutSuffix(part, "[]")
		if name != "" {
			out.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
		}
		if every {
			out.WriteString("/*")
		}
	}
	return out.String()
}

func topOf(c Case) string {
	value, err := c.document()
	switch v := value.(type) {
	case map[string]any:
		return "dict"
	case []any:
		return "list"
	case string:
		return "str"
	case bool:
		return "bool"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "float"
		}
		return "int"
	}
	if err != nil {
		return "unknown: " + err.Error()
	}
	return "NoneType"
}

// document gives what is in the file, whole. What a repeated key would mean does not
// matter here.
func (c Case) document() (value any, err error) {
	content := c.Content()
	if c.Spec.Compression != "" {
		if content, err = unpacked(content); err != nil {
			return nil, err
		}
	}
	text, err := charset.Decide(content, true, "utf-8")
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(text.Reader(bytes.NewReader(content[text.BOM:])))
	d.UseNumber()
	err = d.Decode(&value)
	return value, err
}

// isList says that a path without [] names a list.
func (c Case) isList(record string) bool {
	value, err := c.document()
	if err != nil || strings.Contains(record, "[]") {
		return false
	}
	for name := range strings.SplitSeq(record, ".") {
		if object, ok := value.(map[string]any); ok && record != "" {
			value = object[name]
		}
	}
	_, ok := value.([]any)
	return ok
}

// jsonItems gives each record as it stands in the file, and the lines of the broken.
func jsonItems(c Case, f *integration.Format) (items [][]byte, bad []int, broken []string, err error) {
	outer, err := c.open(f)
	if err != nil {
		return nil, nil, nil, err
	}
	defer outer.Close() //nolint:errcheck // only read
	for {
		_, err := outer.Next()
		if e, ok := errors.AsType[*rows.RowError](err); ok {
			bad = append(bad, e.Line)
			broken = append(broken, e.Error())
			continue
		}
		if err == io.EOF {
			return items, bad, broken, nil
		}
		if err != nil {
			return items, bad, broken, err
		}
		r, ok := formats.Inner(outer).(interface{ Item() []byte })
		if !ok {
			return nil, nil, nil, fmt.Errorf("it was read by %T", formats.Inner(outer))
		}
		items = append(items, bytes.Clone(r.Item()))
	}
}

// ndjsonFile counts the records of a file with one value a line.
func ndjsonFile(c Case) (out []string) {
	var want struct {
		Records   int    `json:"records"`
		Bad       []int  `json:"bad_lines"`
		OracleErr string `json:"oracle_error"`
	}
	if err := strict(c.Expect, &want); err != nil {
		return []string{"what is expected cannot be read: " + err.Error()}
	}
	items, bad, _, err := jsonItems(c, &integration.Format{NDJSON: &integration.NDJSON{}})
	if want.OracleErr != "" {
		if err == nil && len(bad) == 0 {
			out = append(out, "read to its end, but the other parser says: "+want.OracleErr)
		}
		return out
	}
	if err != nil {
		return []string{"not read: " + err.Error()}
	}
	differ(&out, "records", len(items), want.Records)
	if !slices.Equal(bad, want.Bad) {
		out = append(out, fmt.Sprintf("bad_lines: got %v, want %v", bad, want.Bad))
	}
	return out
}

// pythonText writes a JSON value as Python's json.dumps with sorted keys does.
func pythonText(raw []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return "", err
	}
	var out bytes.Buffer
	python(&out, value)
	return out.String(), nil
}

func python(out *bytes.Buffer, value any) {
	switch v := value.(type) {
	case nil:
		out.WriteString("null")
	case bool:
		out.WriteString(strconv.FormatBool(v))
	case string:
		pythonQuote(out, v)
	case json.Number:
		out.WriteString(pythonNumber(string(v)))
	case []any:
		out.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				out.WriteString(", ")
			}
			python(out, item)
		}
		out.WriteByte(']')
	case map[string]any:
		out.WriteByte('{')
		for i, key := range sortedKeys(v) {
			if i > 0 {
				out.WriteString(", ")
			}
			pythonQuote(out, key)
			out.WriteString(": ")
			python(out, v[key])
		}
		out.WriteByte('}')
	}
}

func pythonQuote(out *bytes.Buffer, s string) {
	out.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\b':
			out.WriteString(`\b`)
		case r == '\f':
			out.WriteString(`\f`)
		case r < 0x20:
			fmt.Fprintf(out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
}

// pythonNumber: whole numbers of any length, and the shortest text of a float.
func pythonNumber(text string) string {
	if !strings.ContainsAny(text, ".eE") {
		if n, ok := new(big.Int).SetString(text, 10); ok {
			return n.String()
		}
		return text
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return "Infinity"
	}
	short := strconv.FormatFloat(f, 'e', -1, 64)
	_, exponent, _ := strings.Cut(short, "e")
	if n, err := strconv.Atoi(exponent); err == nil && (n < -4 || n >= 16) {
		return short
	}
	plain := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(plain, ".") {
		plain += ".0"
	}
	return plain
}
