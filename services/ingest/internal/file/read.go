package file

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/planted"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/ingest/internal/csvrows"
)

const (
	stateDone = "done"
	// callTimeout bounds one transaction of the ledger.
	callTimeout = 10 * time.Second
)

var (
	// errSessionEnded: the ledger did not answer for so long that the file may be another session's.
	errSessionEnded = errors.New("the session ended before the file did; it is gone on with under the next one")
	// errChanged: what was read so far may belong to another content.
	errChanged = errors.New("the file changed while it was read: its rows so far are kept, the rest is not read; drop it whole, under a temporary name that is changed at the end")
)

func newTrackingID() [16]byte { return uuid.Must(uuid.NewV7()) }

// reading is one file on its way into the ledger, by one goroutine.
type reading struct {
	*Source
	ctx     context.Context // ends when the process is to stop; looked at between rows
	session *ledger.Session
	drop    *drop
	file    ledger.File // as the ledger has it
	entry   catalog.Entry
	origin  *integration.Source
	log     *zap.Logger
	hash    string
	digest  hash.Hash
	bytes   io.Reader // everything that is read goes through digest
	rows    *csvrows.Reader
	chunk   chunk
}

// read takes the file's rows from where its mark stands to its end.
func (s *Source) read(ctx context.Context, session *ledger.Session, d *drop, f ledger.File, log *zap.Logger) (ended bool, err error) {
	r := &reading{Source: s, ctx: ctx, session: session, drop: d, file: f, log: log, hash: fmt.Sprintf("%x", f.Hash), digest: sha256.New()}
	var known bool
	if r.entry, known = s.Catalog.Get(s.integration); known {
		r.origin, known = r.entry.Source(s.source)
	}
	if !known {
		return false, fmt.Errorf("integration %s has no source %s any more", s.integration, s.source)
	}
	// Not sought, also when it is gone on with: what lies before the mark is hashed, too.
	r.bytes = io.TeeReader(&untilDone{ctx: ctx, r: io.NewSectionReader(d.file, 0, 1<<62)}, r.digest)
	log.Info("reading a file", zap.Int64("bytes", f.Size), zap.Int64("rows_done", f.Rows), zap.String(telemetry.FieldTrackingID, uuid.UUID(f.TrackingID).String()))
	return r.end(r.guarded())
}

// guarded keeps a file that makes us panic from stopping the process, again and again.
func (r *reading) guarded() (err error) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		f := fault.FromPanic(value, debug.Stack())
		r.Alert(telemetry.Problem{Kind: telemetry.KindPanic, Integration: r.integration, Class: f.Class, Code: f.Code, Where: r.source,
			Message: fmt.Sprintf("panic of type %T while a file was read", value), Repair: "waybill doctor", Stack: f.Stack})
		err = fault.New(fault.Bug, f.Code, "a fault of ours stopped reading it after row %d", r.file.Rows)
	}()
	return r.run()
}

// end closes the file by what became of reading it.
func (r *reading) end(err error) (ended bool, _ error) {
	unreadable, isFileError := errors.AsType[*csvrows.FileError](err)
	refused, isRefused := errors.AsType[*fault.Error](err)
	switch {
	case err == nil:
		if err := r.close(""); err != nil {
			return false, err
		}
		r.log.Info("a file was read to its end", zap.Int64("rows", r.file.Rows))
		return true, r.finished()
	case errors.Is(err, ledger.ErrFileLost):
		r.log.Warn("another session reads this file now")
		return false, nil
	case isFileError:
		return r.fail(string(unreadable.Code), unreadable.Error())
	case errors.Is(err, errChanged):
		return r.fail("changed", err.Error())
	case isRefused && (refused.Class == fault.Data || refused.Class == fault.Bug):
		return r.fail(refused.Code, refused.Message)
	case r.ctx.Err() != nil:
		return false, nil
	default:
		return false, err
	}
}

// finished moves a file that is done. One that was written to since its hash
// was confirmed was dropped too early: what it holds now, nobody has read.
func (r *reading) finished() error {
	changed, err := r.drop.changed(r.ctx, r.file.Hash)
	if err != nil {
		return err
	}
	if !changed {
		return r.move(r.drop, doneDir, r.log)
	}
	r.failedFile(r.file, "changed_late", "the file was written to after it had been read: what was added is not read; drop that as a file of its own, under a temporary name that is changed at the end")
	return r.move(r.drop, failedDir, r.log)
}

func (r *reading) fail(code, reason string) (ended bool, err error) {
	if err := r.close(reason); err != nil {
		return false, err
	}
	r.failedFile(r.file, code, reason)
	return true, r.move(r.drop, failedDir, r.log)
}

// close is known to have happened only if there is no error; the next look finds out.
func (r *reading) close(reason string) error {
	ctx, cancel := context.WithTimeout(r.session.Context(), callTimeout)
	defer cancel()
	return r.Ledger.EndFile(ctx, r.session.ID, r.file, reason)
}

func (s *Source) failedFile(f ledger.File, code, reason string) {
	tracking := uuid.UUID(f.TrackingID).String()
	s.Log.Error("a file failed", zap.String("file", f.Name), zap.Int64("file_id", f.ID), zap.String(telemetry.FieldTrackingID, tracking),
		zap.String(telemetry.FieldCode, code), zap.String(telemetry.FieldReason, reason), zap.Int64("rows_kept", f.Rows))
	s.Alert(telemetry.Problem{Kind: telemetry.KindRejected, Integration: s.integration, Class: fault.Data, Code: "file_" + code, Where: s.source,
		Message: fmt.Sprintf("the file %q was not read to its end and lies in %s/ (%d rows were accepted): %s", f.Name, failedDir, f.Rows, reason),
		Repair:  "waybill trace " + tracking})
}

func (s *Source) move(d *drop, folder string, log *zap.Logger) error {
	target, err := d.moveTo(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it was taken away or replaced: nothing is left to move
		return nil
	case err != nil:
		return fmt.Errorf("move it to %s: %w", folder, err)
	}
	log.Info("the file was moved", zap.String("to", shown(target)))
	return nil
}

// run reads to the end of the file.
func (r *reading) run() error {
	options := r.options
	var mark csvrows.Mark
	if err := json.Unmarshal(r.file.Mark, &mark); err != nil {
		return fmt.Errorf("the mark of file %d cannot be read: %w", r.file.ID, err)
	}
	if planted.FileFromRowZero { // and its rows are known by nothing that outlives this reading
		mark = csvrows.Mark{}
		r.hash = fmt.Sprintf("%s-%d", r.hash, r.session.ID)
	}
	if mark.Line > 0 { // a file that is begun has none
		options.From = &mark
	}
	var err error
	if r.rows, err = csvrows.NewReader(r.bytes, options); err != nil {
		return err
	}
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		item, err := r.next()
		if errors.Is(err, io.EOF) {
			return r.finish()
		}
		if err != nil {
			return err
		}
		r.chunk.add(item)
		if !r.chunk.full() {
			continue
		}
		if err := r.flush(); err != nil {
			return err
		}
	}
}

// finish compares what was read with the file's hash before the last rows count.
func (r *reading) finish() error {
	if _, err := io.Copy(io.Discard, r.bytes); err != nil {
		return err
	}
	if [32]byte(r.digest.Sum(nil)) != r.file.Hash {
		return errChanged
	}
	return r.flush()
}

// flush commits the rows at hand, unless the file is another one by now.
func (r *reading) flush() error {
	changed, err := r.drop.changed(r.ctx, r.file.Hash)
	if err != nil {
		return err
	}
	if changed {
		return errChanged
	}
	if len(r.chunk.items) == 0 {
		return nil
	}
	err = r.commit(r.chunk.items)
	r.chunk.clear()
	return err
}

// next gives the next row as a record to be, whatever is wrong with it.
func (r *reading) next() (item, error) {
	row, err := r.rows.Next()
	broken, isBroken := errors.AsType[*csvrows.RowError](err)
	var i item
	switch {
	case isBroken:
		i, err = r.broken(broken)
	case err != nil:
		return i, err
	default:
		i, err = r.whole(row)
	}
	i.mark = r.rows.Mark()
	return i, err
}
