package xmlrows

import (
	"errors"
	"fmt"
	"io"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/xmlrows/xmlscan"
)

const (
	maxNodes   = 100_000  // elements and attributes of a record
	maxSkipped = 16 << 20 // bytes beyond its limit after which a record ends the file
	maxKeys    = 4096     // names of attributes kept,
	keyBytes   = 1 << 20  // and so many bytes of them
)

// Reader reads the records of one file. It holds no goroutine and does not close
// the source.
type Reader struct {
	scan     *xmlscan.Scanner
	steps    []integration.XMLStep
	rooted   bool
	way      int // steps from the root that the open elements fit
	prefixes map[string]string
	keys     map[xmlscan.Name]string
	keyed    int // bytes of keys
	maxRow   int

	root    xmlscan.Name
	record  tree
	due     []int // nodes of record that are records, not yet given
	out     []byte
	rows    int
	giveAll bool // false while passing over rows that are done
	err     error
}

// New reads the start of the file and stands before the first record, or behind
// the mark, by reading all before it. maxRow bounds a record in bytes, in the file
// and as JSON. The source must begin with the file's first byte. The error is a
// *rows.FileError, one of the source or of f.
func New(src io.Reader, f *integration.XML, maxRow int, from *rows.Mark) (*Reader, error) {
	steps, rooted, err := f.Steps()
	if err != nil {
		return nil, fmt.Errorf("xmlrows: %w", err)
	}
	depth := f.MaxDepth
	if depth < 1 {
		depth = integration.MaxDepth
	}
	scan, err := xmlscan.Open(src, xmlscan.Options{MaxDepth: depth})
	if err != nil {
		return nil, err
	}
	r := &Reader{scan: scan, steps: steps, rooted: rooted, maxRow: maxRow, prefixes: map[string]string{}, keys: map[xmlscan.Name]string{}, giveAll: true}
	for prefix, uri := range f.Namespaces {
		if known, twice := r.prefixes[uri]; !twice || prefix < known {
			r.prefixes[uri] = prefix
		}
	}
	if from != nil {
		return r, r.skip(from.Rows)
	}
	return r, nil
}

// skip passes over rows that are done.
func (r *Reader) skip(n int) error {
	r.giveAll = false
	for r.rows < n {
		_, err := r.Next()
		if rowErr := (*rows.RowError)(nil); err == nil || errors.As(err, &rowErr) {
			continue
		}
		if errors.Is(err, io.EOF) {
			return &rows.FileError{Code: rows.MarkMismatch, Message: fmt.Sprintf("%d records are done, but the file has %d: it is another file", n, r.rows)}
		}
		return err
	}
	r.giveAll = true
	return nil
}

// Encoding is the declared encoding, else the one that was found.
func (r *Reader) Encoding() string { return r.scan.Encoding() }

// Root is the root element's name and namespace, once it has been read.
func (r *Reader) Root() (local, space string) { return r.root.Local, r.root.Space }

// Elements counts the elements read so far, those outside of records included.
func (r *Reader) Elements() int64 { return r.scan.Elements() }

// Mark gives the place behind the last record given.
func (r *Reader) Mark() rows.Mark {
	return rows.Mark{Rows: r.rows, Line: r.scan.Line(), Offset: -1}
}

// Close frees nothing: the Reader holds only memory.
func (r *Reader) Close() error { return nil }

// Next gives the next record.
func (r *Reader) Next() (rows.Row, error) {
	for r.err == nil {
		if len(r.due) > 0 {
			i := r.due[0]
			r.due = r.due[1:]
			return r.give(i)
		}
		t, err := r.scan.Next()
		switch {
		case err != nil:
			r.err = err
		case t.Kind == xmlscan.End:
			r.way = min(r.way, r.scan.Depth())
		case t.Kind == xmlscan.Start:
			if r.scan.Depth() == 1 {
				r.root = t.Name
			}
			if !r.begins(t.Name) {
				continue
			}
			if err := r.read(t); err != nil {
				if rowErr := (*rows.RowError)(nil); errors.As(err, &rowErr) {
					return rows.Row{}, err
				}
				r.err = err
			}
		}
	}
	return rows.Row{}, r.err
}

// begins tells whether the element that just began is a record.
func (r *Reader) begins(name xmlscan.Name) bool {
	depth := r.scan.Depth()
	switch {
	case len(r.steps) == 0:
		return depth == 2
	case !r.rooted:
		return r.steps[0].Fits(name.Space, name.Local)
	case depth > len(r.steps) || r.way != depth-1 || !r.steps[depth-1].Fits(name.Space, name.Local):
		return false
	}
	r.way = depth
	return depth == len(r.steps)
}

// read reads the record that t begins; what is in it falls due.
func (r *Reader) read(t xmlscan.Token) error {
	r.scan.Hold(true)
	defer r.scan.Hold(false)
	r.record.reset()
	r.due = r.due[:0]
	began, base, line := r.scan.Offset(), r.scan.Depth(), r.scan.TagLine()
	fault := r.add(t, true)
	for r.scan.Depth() >= base {
		t, err := r.scan.Next()
		if err != nil {
			return err
		}
		length := r.scan.Offset() - began
		if fault != "" {
			if length > int64(r.maxRow)+maxSkipped {
				return &rows.FileError{Code: rows.TooLarge, Line: line, Message: fmt.Sprintf("a record is longer than %d bytes and has no end; is record the right element?", int64(r.maxRow)+maxSkipped)}
			}
			continue
		}
		switch t.Kind {
		case xmlscan.Start:
			fault = r.add(t, !r.rooted && r.steps[0].Fits(t.Name.Space, t.Name.Local))
		case xmlscan.End:
			r.record.up()
		case xmlscan.Text:
			r.record.addText(t.Text)
		}
		if fault == "" && (length > int64(r.maxRow) || r.record.size > r.maxRow) {
			fault = rows.RowTooLong
		}
	}
	r.way = min(r.way, r.scan.Depth())
	if fault == "" {
		return nil
	}
	r.due = r.due[:0]
	r.rows++
	return r.broken(fault, line)
}

func (r *Reader) broken(code rows.Code, line int) error {
	message := fmt.Sprintf("the record is longer than %d bytes; records inside it are not read either", r.maxRow)
	switch code {
	case rows.TooLarge:
		message = fmt.Sprintf("the record has more than %d elements and attributes; records inside it are not read either", maxNodes)
	case rows.TooDeep:
		message = fmt.Sprintf("the record is nested deeper than %d as JSON, lists included", integration.MaxDepth)
	}
	return &rows.RowError{Line: line, Number: r.rows, Code: code, Message: message, Raw: append([]byte(nil), r.scan.Raw()...)}
}

// add adds an element to the record.
func (r *Reader) add(t xmlscan.Token, isRecord bool) rows.Code {
	if len(r.record.nodes)+len(r.record.attrs)+len(t.Attrs) >= maxNodes {
		return rows.TooLarge
	}
	i := r.record.down(t.Name.Local, r.scan.TagLine())
	for _, a := range t.Attrs {
		r.record.addAttr(r.key(a.Name), a.Value)
	}
	if isRecord {
		r.due = append(r.due, i)
	}
	return ""
}

// key is the name of an attribute in the record.
func (r *Reader) key(name xmlscan.Name) string {
	name.Prefix = ""
	key, known := r.keys[name]
	if known {
		return key
	}
	if r.keyed += len(name.Local); len(r.keys) >= maxKeys || r.keyed > keyBytes {
		clear(r.keys)
		r.keyed = len(name.Local)
	}
	key = "@" + name.Local
	if prefix := r.prefixes[name.Space]; prefix != "" && name.Space != "" {
		key = "@" + prefix + ":" + name.Local
	}
	r.keys[name] = key
	return key
}

// give makes the row of a node that is a record.
func (r *Reader) give(i int) (rows.Row, error) {
	r.rows++
	line := r.record.nodes[i].line
	if !r.giveAll {
		return rows.Row{}, nil
	}
	w := writer{tree: &r.record, out: r.out[:0]}
	value := w.object(i, 1, true)
	if r.out = w.out; cap(r.out) > 2*r.maxRow {
		r.out = nil
	}
	switch {
	case w.tooDeep:
		return rows.Row{}, r.broken(rows.TooDeep, line)
	case len(w.out) > r.maxRow:
		return rows.Row{}, r.broken(rows.RowTooLong, line)
	}
	return rows.Row{Number: r.rows, Line: line, Body: append([]byte(nil), w.out...), Value: value}, nil
}
