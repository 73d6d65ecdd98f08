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
	"strconv"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/planted"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/ingest/internal/formats"
	"waybill.internal/services/ingest/internal/rows"
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

// reading is one file on its way into the ledger: the goroutine of its source
// commits chunks in their order, while another one prepares the next.
type reading struct {
	*Source
	ctx     context.Context // ends when the process is to stop; looked at between rows
	session *ledger.Session
	drop    *drop
	file    ledger.File // as the ledger has it; the committing goroutine's
	entry   catalog.Entry
	origin  *integration.Source
	log     *zap.Logger
	// publishing is closed when the messages of the last chunk have left; nil before the first.
	publishing chan struct{}
	underWay   *attempt // the chunk whose transaction has not ended; nil for none
	// oneByOne: what a row means depends on what the chunk before made the latest version of its entity.
	oneByOne bool

	// The preparing goroutine's.
	begun    ledger.File // as it was taken
	identity string      // what the keys of rows begin with
	digest   hash.Hash
	bytes    io.Reader // everything that is read goes through digest
	passed   int64     // bytes read
	rows     rows.Reader
}

// read takes the file's rows from where its mark stands to its end.
func (s *Source) read(ctx context.Context, session *ledger.Session, d *drop, f ledger.File, log *zap.Logger) (ended bool, err error) {
	r := &reading{Source: s, ctx: ctx, session: session, drop: d, file: f, log: log, begun: f, identity: f.Identity(), digest: sha256.New()}
	var known bool
	if r.entry, known = s.Catalog.Get(s.integration); known {
		r.origin, known = r.entry.Source(s.source)
	}
	if !known {
		return false, fmt.Errorf("integration %s has no source %s any more", s.integration, s.source)
	}
	r.oneByOne = f.Ordered || f.Snapshot || r.entry.TracksEntities()
	// Not sought, also when it is gone on with: what lies before the mark is hashed, too.
	if f.Previous > 0 && f.Rows == 0 {
		log.Info("a file of this name and other content came before; this is a new one", zap.Int64("before", f.Previous))
	}
	log.Info("reading a file", zap.Int("occurrence", f.Occurrence), zap.Int64("bytes", f.Size), zap.Int64("rows_done", f.Rows), zap.String(telemetry.FieldTrackingID, uuid.UUID(f.TrackingID).String()))
	return r.end(r.guarded())
}

// guarded keeps a file that makes us panic from stopping the process, again and again.
func (r *reading) guarded() (err error) {
	defer r.published()
	defer r.recovered(&err)
	return r.run()
}

// recovered makes an error of a panic; it is deferred in both goroutines.
func (r *reading) recovered(err *error) {
	value := recover()
	if value == nil {
		return
	}
	f := fault.FromPanic(value, debug.Stack())
	r.Alert(telemetry.Problem{Kind: telemetry.KindPanic, Integration: r.integration, Class: f.Class, Code: f.Code, Where: r.source,
		Message: fmt.Sprintf("panic of type %T while a file was read", value), Repair: "waybill file show " + strconv.FormatInt(r.begun.ID, 10), Stack: f.Stack})
	*err = fault.New(fault.Bug, f.Code, "a fault of ours stopped reading it; its rows so far are kept")
}

// end closes the file by what became of reading it.
func (r *reading) end(err error) (ended bool, _ error) {
	unreadable, isFileError := errors.AsType[*rows.FileError](err)
	refused, isRefused := errors.AsType[*fault.Error](err)
	switch {
	case err == nil:
		if err := r.close(""); err != nil {
			return false, err
		}
		r.log.Info("a file was read to its end", zap.Int64("rows", r.file.Rows), zap.Int64("received", r.file.Received), zap.Int64("unchanged", r.file.Unchanged), zap.Int64("deleted", r.file.Deleted))
		if r.drop == nil { // only its deletions were left
			return true, nil
		}
		return true, r.leave(r.ctx, r.session, r.drop, r.file, doneDir, r.log)
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

func (r *reading) fail(code, reason string) (ended bool, err error) {
	if err := r.close(reason); err != nil {
		return false, err
	}
	r.failedFile(r.file, code, reason)
	if r.drop == nil { // only its deletions were left
		return true, nil
	}
	return true, r.leave(r.ctx, r.session, r.drop, r.file, failedDir, r.log)
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
		Message: fmt.Sprintf("the file %q failed (its %d rows so far are kept): %s", f.Name, f.Rows, reason),
		Repair:  "waybill file show " + strconv.FormatInt(f.ID, 10)})
}

func (s *Source) move(d *drop, folder string, log *zap.Logger) error {
	target, err := d.moveTo(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist): // it was taken away or replaced: nothing is left to move
		log.Info("the file is not there any more: it was taken away, or another one took its name")
		return nil
	case err != nil:
		return fmt.Errorf("move it to %s: %w", folder, err)
	}
	log.Info("the file was moved", zap.String("to", shown(target)))
	return nil
}

// run reads to the end of the file. While one chunk is committed, the rows of the next
// one go in, the one after is prepared and the messages of the one before leave; there
// are never more than four. All their goroutines have ended when run returns.
func (r *reading) run() error {
	ctx, stop := context.WithCancel(r.ctx)
	chunks, failed := make(chan chunk), make(chan error, 1)
	go func() {
		defer close(chunks)
		failed <- r.prepare(ctx, chunks)
	}()
	var err error
	for c := range chunks {
		if err == nil {
			if err = r.begin(c); err != nil {
				stop() // and what is under way is taken and dropped
			}
		}
	}
	stop()
	if settled := r.settle(); err == nil {
		err = settled
	}
	if prepared := <-failed; err == nil {
		err = prepared
	}
	if err == nil && r.file.Snapshot {
		err = r.disappeared()
	}
	return err
}

// prepare sends the file's chunks and returns at its end, or when ctx ends.
func (r *reading) prepare(ctx context.Context, to chan<- chunk) (err error) {
	defer r.recovered(&err)
	if err := r.openRows(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.rows.Close()) }()
	var c chunk
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		i, err := r.next(ctx)
		if errors.Is(err, io.EOF) {
			if err := r.finish(); err != nil {
				return err
			}
			return r.send(ctx, to, c)
		}
		if err != nil {
			return err
		}
		if c.add(i); !c.full() {
			continue
		}
		if err := r.send(ctx, to, c); err != nil {
			return err
		}
		c = chunk{items: make([]item, 0, len(c.items))}
	}
}

func (r *reading) send(ctx context.Context, to chan<- chunk, c chunk) error {
	c.offset = r.passed
	select {
	case to <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// openRows opens the file behind its mark. It is not sought, also when it is gone
// on with: what lies before the mark is hashed, too.
func (r *reading) openRows(ctx context.Context) error {
	var mark rows.Mark
	if err := json.Unmarshal(r.begun.Mark, &mark); err != nil {
		return fmt.Errorf("the mark of file %d cannot be read: %w", r.begun.ID, err)
	}
	if planted.FileFromRowZero { // and its rows are known by nothing that outlives this reading
		mark = rows.Mark{}
		r.identity = fmt.Sprintf("%s-%d", r.identity, r.session.ID)
	}
	var from *rows.Mark
	if mark != (rows.Mark{}) { // a file that is begun has none
		from = &mark
	}
	if err := r.makeSpool(); err != nil {
		return err
	}
	whole := &untilDone{ctx: ctx, r: io.NewSectionReader(r.drop.file, 0, 1<<62)}
	r.bytes = io.TeeReader(whole, io.MultiWriter(r.digest, counter{&r.passed}))
	var err error
	r.rows, err = formats.Open(&r.Source.file.Format, formats.Input{Name: r.begun.Name, Stream: r.bytes, Random: r.drop.file, Size: r.drop.info.Size(), Temp: r.Spool}, maxBody, from)
	return err
}

type counter struct{ n *int64 }

func (c counter) Write(p []byte) (int, error) {
	*c.n += int64(len(p))
	return len(p), nil
}

// finish compares what was read with the file's hash before the last rows count.
func (r *reading) finish() error {
	if _, err := io.Copy(io.Discard, r.bytes); err != nil {
		return err
	}
	if [32]byte(r.digest.Sum(nil)) != r.begun.Hash {
		return errChanged
	}
	return nil
}

// next gives the next row as a record to be, whatever is wrong with it.
func (r *reading) next(ctx context.Context) (item, error) {
	row, err := r.rows.Next()
	broken, isBroken := errors.AsType[*rows.RowError](err)
	var i item
	switch {
	case isBroken:
		i, err = r.broken(ctx, broken)
	case err != nil:
		return i, err
	default:
		i, err = r.whole(ctx, row)
	}
	i.mark = r.rows.Mark()
	return i, err
}
