package cases

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xmlrows"
)

// xmlExpect is what lxml says of a file.
type xmlExpect struct {
	Root      string  `json:"root"`
	RootNS    *string `json:"root_ns"`
	Encoding  string  `json:"encoding"`
	Record    string  `json:"record"`
	Records   int     `json:"records"`
	Elements  int64   `json:"elements"`
	Digest    string  `json:"sha256_records"`
	OracleErr string  `json:"oracle_error"`
}

// xmlFile compares a file's records, flattened as the other parser's are.
func xmlFile(c Case) (out []string) {
	var want xmlExpect
	if err := strict(c.Expect, &want); err != nil {
		return []string{"what is expected cannot be read: " + err.Error()}
	}
	f := integration.XML{MaxDepth: 256}
	shown := "(children of root)"
	if c.Spec.Record != nil {
		f.Record, shown = *c.Spec.Record, *c.Spec.Record
	}
	out = want.compare(c.Content(), &f, shown)
	if len(out) == 0 || want.OracleErr != "" {
		return out
	}
	for _, other := range otherReadings(c) {
		if len(want.compare(other.content, &f, shown)) == 0 {
			c.Note("as expected %s; as we read it: %s", other.how, out[0])
			return nil
		}
	}
	return out
}

// compare reads a file and gives what differs.
func (want xmlExpect) compare(content []byte, f *integration.XML, shown string) (out []string) {
	records, digest, r, err := xmlRecords(content, f)
	if want.OracleErr != "" {
		if err == nil {
			out = append(out, fmt.Sprintf("read to its end with %d records, the other parser says: %s", records, want.OracleErr))
		}
		return out
	}
	if err != nil {
		return []string{"not read: " + err.Error()}
	}
	root, space := r.Root()
	wantSpace := ""
	if want.RootNS != nil {
		wantSpace = *want.RootNS
	}
	differ(&out, "records", records, want.Records)
	differ(&out, "elements", r.Elements(), want.Elements)
	differ(&out, "root", root, want.Root)
	differ(&out, "root_ns", space, wantSpace)
	differ(&out, "encoding", r.Encoding(), want.Encoding)
	differ(&out, "record", shown, want.Record)
	differ(&out, "sha256_records", digest, want.Digest)
	return out
}

// xmlRecords reads a file to its end.
func xmlRecords(content []byte, f *integration.XML) (int, string, *xmlrows.Reader, error) {
	r, err := xmlrows.New(bytes.NewReader(content), f, maxCaseRow, nil)
	if err != nil {
		return 0, "", nil, err
	}
	digest, n := sha256.New(), 0
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n, hex.EncodeToString(digest.Sum(nil)), r, nil
		}
		if err != nil {
			return n, "", r, err
		}
		if n++; n > 1 {
			digest.Write([]byte{0x1e})
		}
		digest.Write(flatRecord(row))
	}
}

// flatRecord writes a record as the other parser's dump is written: every text by
// its path, several of one path as a list.
func flatRecord(row rows.Row) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	flat := flatten("", row.Value)
	for i, key := range sortedKeys(flat) {
		if i > 0 {
			b.WriteString(", ")
		}
		quotePlain(&b, key)
		b.WriteString(": ")
		writePlain(&b, flat[key])
	}
	b.WriteByte('}')
	return b.Bytes()
}

// flatten gives an element's texts by path. As in the other parser, what comes to a
// path that is taken is put behind it in a list, lists of an element's parts whole.
func flatten(at string, value any) map[string]any {
	out := map[string]any{}
	object, isObject := value.(map[string]any)
	if !isObject {
		out[at] = value
		return out
	}
	own, children := "#text", 0
	if at != "" {
		own = at
		at += "/"
	}
	for _, key := range sortedKeys(object) {
		switch {
		case key == "#text":
			add(out, own, object[key])
		case key[0] == '@':
			for _, v := range listed(object[key]) {
				add(out, at+key, v)
			}
		default:
			children++
			for _, child := range listed(object[key]) {
				below := flatten(at+key, child)
				for _, k := range sortedKeys(below) {
					add(out, k, below[k])
				}
			}
		}
	}
	if _, has := object["#text"]; !has && children == 0 {
		add(out, own, "") // an empty element
	}
	return out
}

func listed(value any) []any {
	if list, ok := value.([]any); ok {
		return list
	}
	return []any{value}
}

func add(out map[string]any, key string, value any) {
	if before, taken := out[key]; taken {
		value = append(append([]any(nil), listed(before)...), value)
	}
	out[key] = value
}

func writePlain(b *bytes.Buffer, value any) {
	list, isList := value.([]any)
	if !isList {
		s, _ := value.(string) // a record has nothing but texts
		quotePlain(b, s)
		return
	}
	b.WriteByte('[')
	for i, v := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		writePlain(b, v)
	}
	b.WriteByte(']')
}

// quotePlain writes a JSON string that escapes no more than it must.
func quotePlain(b *bytes.Buffer, s string) {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if !strings.ContainsAny(s, "\u2028\u2029") {
		_ = e.Encode(s) // a string can always be written
		b.Truncate(b.Len() - 1)
		return
	}
	var one bytes.Buffer // these two are escaped for the sake of JavaScript
	quotePlain(&one, strings.NewReplacer("\u2028", "\x00", "\u2029", "\x01").Replace(s))
	b.WriteString(strings.NewReplacer(`\u0000`, "\u2028", `\u0001`, "\u2029").Replace(one.String()))
}
