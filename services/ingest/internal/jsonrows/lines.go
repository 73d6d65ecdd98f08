package jsonrows

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/rows/lines"
)

const (
	minRowBytes = 16
	maxRowBytes = 64 << 20
	utf8Name    = "utf-8"
)

// item makes a row of one JSON value, or says what is wrong with it.
func item(raw []byte, maxRow int) (body []byte, value any, code rows.Code, message string) {
	value, err := integration.DecodeJSON(raw)
	if err != nil {
		message = err.Error()
		if e, ok := errors.AsType[*integration.SyntaxError](err); ok {
			message = fmt.Sprintf("this is no JSON: at its line %d, column %d: %s", e.Line, e.Column, e.Message)
		}
		return nil, nil, rows.InvalidJSON, message
	}
	if _, ok := value.(map[string]any); ok {
		body = bytes.Clone(raw)
	} else {
		body = append(append([]byte(`{"value":`), raw...), '}')
		value = map[string]any{"value": value}
	}
	if len(body) > maxRow {
		return nil, nil, rows.RowTooLong, tooLong(maxRow)
	}
	return body, value, "", ""
}

func tooLong(maxRow int) string {
	return fmt.Sprintf("the value has more than %d bytes", maxRow)
}

// Lines reads one JSON value a line.
type Lines struct {
	cutter *lines.Cutter
	maxRow int
	rows   int
	item   []byte
	err    error // sticky
}

// NewLines reads the start of the file and stands before the first row, or behind
// the mark. maxRow bounds a row in bytes. The error is a *rows.FileError, or one of
// the source.
func NewLines(src io.Reader, maxRow int, from *rows.Mark) (*Lines, error) {
	start, err := begin(src, maxRow)
	if err != nil {
		return nil, err
	}
	r := &Lines{cutter: start.Cutter(maxRow), maxRow: maxRow}
	if from == nil {
		return r, nil
	}
	if there, err := r.cutter.Jump(*from); there || err != nil {
		r.rows = from.Rows
		return r, err
	}
	for r.rows < from.Rows {
		if err := rows.Skipped(r.Next()); err != nil {
			return nil, rows.CannotSkip(err, from.Rows, r.rows)
		}
	}
	return r, nil
}

func begin(src io.Reader, maxRow int) (*lines.Start, error) {
	if maxRow < minRowBytes || maxRow > maxRowBytes {
		return nil, fmt.Errorf("jsonrows: rows of %d bytes; the bound must lie between %d and %d", maxRow, minRowBytes, maxRowBytes)
	}
	return lines.Open(src, utf8Name)
}

// Next gives the next row; see rows.Reader.
func (r *Lines) Next() (rows.Row, error) {
	for r.err == nil {
		line, err := r.cutter.Next()
		if err != nil {
			r.err = err
			break
		}
		r.item = bytes.TrimSpace(line.Raw)
		if len(r.item) == 0 && !line.TooLong {
			continue
		}
		r.rows++
		row := rows.Row{Number: r.rows, Line: line.Number}
		code, message := rows.RowTooLong, tooLong(r.maxRow)
		if !line.TooLong {
			row.Body, row.Value, code, message = item(r.item, r.maxRow)
		}
		if code != "" {
			return rows.Row{}, &rows.RowError{Line: line.Number, Number: r.rows, Code: code, Message: message, Raw: bytes.Clone(r.item[:min(len(r.item), lines.MaxRaw)])}
		}
		return row, nil
	}
	return rows.Row{}, r.err
}

// Item gives what the row that Next gave last was made of; it is valid until the
// next call.
func (r *Lines) Item() []byte { return r.item }

// Mark gives the place behind the last row given.
func (r *Lines) Mark() rows.Mark { return r.cutter.Mark(r.rows) }

// Close has nothing to free.
func (r *Lines) Close() error { return nil }
