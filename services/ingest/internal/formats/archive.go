package formats

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"waybill.internal/services/ingest/internal/rows"
	"waybill.internal/services/ingest/internal/unpack"
)

// archive reads the members of a zip archive as one file.
type archive struct {
	opener  *opener
	members []unpack.Member
	depth   int
	at      int         // the member being read
	reader  rows.Reader // of it; nil: not opened yet
	last    rows.Reader // the one that was opened last, also when it is closed
	before  int         // rows of the members before it
	mark    rows.Mark   // behind the last row given
	err     error       // sticky
}

func newArchive(o *opener, members []unpack.Member, depth int, from *rows.Mark) (rows.Reader, error) {
	a := &archive{opener: o, members: members, depth: depth}
	var inner *rows.Mark
	if from != nil && from.Member != "" {
		for a.at < len(members) && kept(members[a.at].Name) != from.Member {
			a.at++
		}
		if a.at == len(members) || from.Before < 0 || from.Before > from.Rows {
			return nil, &rows.FileError{Code: rows.MarkMismatch, Message: fmt.Sprintf("the mark is in the file %q of the archive, which is not there", from.Member)}
		}
		a.before, a.mark = from.Before, *from
		m := *from
		m.Rows, m.Before, m.Member = m.Rows-m.Before, 0, ""
		inner = &m
	} else if from != nil && from.Rows > 0 {
		return a, a.skip(from.Rows)
	}
	return a, a.open(inner)
}

// skip passes over rows, by reading them.
func (a *archive) skip(n int) error {
	for a.mark.Rows < n {
		if err := rows.Skipped(a.Next()); err != nil {
			return rows.CannotSkip(err, n, a.mark.Rows)
		}
	}
	return nil
}

func (a *archive) open(from *rows.Mark) error {
	m := a.members[a.at]
	src, err := m.Open(a.opener.meter, true)
	if err != nil {
		return err
	}
	r, err := with(src.Close)(a.opener.layer(src, a.depth+1, from))
	if err != nil {
		return a.named(err)
	}
	a.reader, a.last = r, r
	a.take()
	return nil
}

// take keeps the place in the member as one in the archive.
func (a *archive) take() {
	m := a.reader.Mark()
	m.Rows += a.before
	m.Before, m.Member = a.before, kept(a.members[a.at].Name)
	a.mark = m
}

// kept is a member's name as the ledger keeps it in a mark. Old programs write names
// in their own code page, which is no text for JSON: it would come back as another.
func kept(name string) string {
	if utf8.ValidString(name) && !strings.ContainsRune(name, 0) && !strings.HasPrefix(name, `"`) {
		return name
	}
	return strconv.QuoteToASCII(name)
}

// named says in an error which member it is about, and gives numbers of the whole.
func (a *archive) named(err error) error {
	prefix := fmt.Sprintf("in %q of the archive: ", a.members[a.at].Name)
	if e, ok := errors.AsType[*rows.RowError](err); ok {
		named := *e
		named.Number += a.before
		named.Message = prefix + e.Message
		return &named
	}
	if e, ok := errors.AsType[*rows.FileError](err); ok {
		named := *e
		named.Message = prefix + e.Message
		return &named
	}
	return err
}

// Next gives the next row of any member; see rows.Reader.
func (a *archive) Next() (rows.Row, error) {
	for a.err == nil {
		if a.reader == nil {
			if a.err = a.open(nil); a.err != nil {
				break
			}
		}
		row, err := a.reader.Next()
		if _, broken := errors.AsType[*rows.RowError](err); err == nil || broken {
			row.Number += a.before
			a.take()
			if broken {
				return rows.Row{}, a.named(err)
			}
			return row, nil
		}
		if err != io.EOF {
			a.err = a.named(err)
			break
		}
		a.err = a.next()
	}
	return rows.Row{}, a.err
}

// next goes to the next member; io.EOF after the last.
func (a *archive) next() error {
	if err := a.Close(); err != nil {
		return err
	}
	a.before = a.mark.Rows
	a.at++
	if a.at == len(a.members) {
		a.at--
		return io.EOF
	}
	return nil
}

// Mark is the place behind the row that Next gave last.
func (a *archive) Mark() rows.Mark { return a.mark }

// Unwrap gives the reader of the member that was opened last.
func (a *archive) Unwrap() rows.Reader { return a.last }

// Close frees the member that is open.
func (a *archive) Close() error {
	if a.reader == nil {
		return nil
	}
	r := a.reader
	a.reader = nil
	return r.Close()
}
