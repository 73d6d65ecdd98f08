package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/url"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"waybill.internal/pkg/fault"
)

// maxFields bounds the fields and files of one form.
const maxFields = 1000

// upload is a file of a form, as the record has it.
type upload struct {
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"`
	Size        int    `json:"size"`
	Base64      string `json:"base64"`
}

// fields are a form's: a name that came once has its value, one that came again
// the list of its values, in their order.
type fields struct {
	values map[string][]any
	count  int
	size   int // bytes of all values
}

// add is given the size of the value, so that a form that is larger than a record may
// be is refused before it is written out.
func (f *fields) add(name string, value any, size int) error {
	if f.count++; f.count > maxFields {
		return fault.New(fault.Data, "too_many_fields", "the form has more than %d fields", maxFields)
	}
	if f.size += len(name) + size; f.size > maxRecord {
		return fault.New(fault.Data, "record_too_large", "the form makes a record of more than %d bytes, and no more are taken; leave out files, or send smaller ones", maxRecord)
	}
	name = utf8Text(name)
	f.values[name] = append(f.values[name], value)
	return nil
}

// json is the record's body: an object with sorted names.
func (f *fields) json() ([]byte, error) {
	object := make(map[string]any, len(f.values))
	for name, values := range f.values {
		if object[name] = any(values); len(values) == 1 {
			object[name] = values[0]
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// formJSON is a form as JSON. A file has at most maxFile bytes. The error is a
// fault of class data with the code unreadable, file_too_large or too_many_fields.
func formJSON(raw []byte, kind content, boundary string, maxFile int) ([]byte, error) {
	f := &fields{values: map[string][]any{}}
	var err error
	if kind == partsContent {
		err = f.parts(multipart.NewReader(bytes.NewReader(raw), boundary), maxFile)
	} else {
		err = f.pairs(string(raw))
	}
	if err != nil {
		return nil, err
	}
	return f.json()
}

func (f *fields) pairs(text string) error {
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		plainName, err := url.QueryUnescape(name)
		if err != nil {
			return unreadableForm(err)
		}
		plain, err := url.QueryUnescape(value)
		if err != nil {
			return unreadableForm(err)
		}
		if err := f.add(plainName, utf8Text(plain), len(plain)); err != nil {
			return err
		}
	}
	return nil
}

func unreadableForm(err error) error {
	return fault.Wrap(err, fault.Data, "unreadable", "the form cannot be read: %v", err)
}

func (f *fields) parts(r *multipart.Reader, maxFile int) error {
	for {
		part, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return unreadableForm(err)
		}
		if err := f.part(part, maxFile); err != nil {
			return err
		}
	}
}

func (f *fields) part(p *multipart.Part, maxFile int) error {
	_, isFile := p.Header["Content-Type"]
	isFile = isFile || p.FileName() != ""
	raw, err := io.ReadAll(io.LimitReader(p, maxRecord+1)) // all files together are no larger
	if err != nil {
		return unreadableForm(err)
	}
	switch {
	case !isFile:
		return f.add(p.FormName(), utf8Text(string(raw)), len(raw))
	case p.FileName() == "" && len(raw) == 0:
		return nil // a field for a file that was left empty
	case len(raw) > maxFile:
		return fault.New(fault.Data, "file_too_large", "the file in the field %.60q has more than %d bytes, and no more are taken; send a smaller one", p.FormName(), maxFile)
	}
	kind := p.Header.Get("Content-Type")
	if strings.HasPrefix(kind, "text/plain") && p.FileName() == "" {
		return f.add(p.FormName(), utf8Text(string(raw)), len(raw))
	}
	file := upload{utf8Text(p.FileName()), utf8Text(kind), len(raw), base64.StdEncoding.EncodeToString(raw)}
	return f.add(p.FormName(), file, len(file.Base64))
}

// utf8Text takes what is no UTF-8 as Windows-1252: old pages send that.
func utf8Text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out, err := charmap.Windows1252.NewDecoder().String(s)
	if err != nil { // it knows every byte
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return out
}
