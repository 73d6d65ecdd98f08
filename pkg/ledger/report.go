package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

// FileStory is what the ledger keeps about a dropped file.
type FileStory struct {
	ID                             int64
	Name, Integration, Source      string
	Size                           int64  // bytes
	State                          string // reading, done or failed
	Rows                           int64  // read and committed, whatever became of them
	Received, Rejected, Duplicates int64  // the rejected are among the received
	Error                          string // why it failed
	StartedAt                      time.Time
	EndedAt                        *time.Time // nil before it ended once; one that is dropped again after it failed keeps the old time
	Hash                           string     // SHA-256 of its bytes, hexadecimal
	Occurrence                     int        // of these bytes, from 1
	Previous                       int64      // the newest file of the same name and other content before it; 0: none
	Sightings                      int        // how often these bytes came
	LastName                       string     // under which name they came last
	BytesDone                      int64
	Unchanged, Deleted             int64
	Unidentified                   int64 // rejected rows of which nobody can tell what they are about
	DeletesRefused                 int64 // wait for a person: more than max_deletes
	DeletesAllowed                 string
	BegunAt                        time.Time // when the session that reads it, or read it last, began
	BegunRows                      int64     // ... and after which row
	MovedAt                        time.Time // of the last progress
	Report                         string    // "", due or delivered
	ReportTry                      int
	ReportError                    string
	TrackingID                     string
}

// FileFilter picks files; zero values pick all.
type FileFilter struct {
	ID                  int64
	Integration, Source string
	State               string
	Request             int64
	Before              int64 // a page goes on below this id
}

// Files lists files, the newest first, at most limit.
func (l *Ledger) Files(ctx context.Context, f FileFilter, limit int) ([]FileStory, error) {
	return l.stories(ctx, f, [16]byte{}, limit)
}

func (l *Ledger) stories(ctx context.Context, f FileFilter, tracking [16]byte, limit int) ([]FileStory, error) {
	return collect(ctx, l, "file_stories", pgx.NamedArgs{"id": f.ID, "tracking_id": nullUUID(tracking), "request": f.Request, "integration": f.Integration, "source": f.Source,
		"state": f.State, "before": f.Before, "rows": limit}, pgx.RowToStructByPos[FileStory])
}

// FileByID finds a file, or ErrNotFound.
func (l *Ledger) FileByID(ctx context.Context, id int64) (FileStory, error) {
	found, err := l.stories(ctx, FileFilter{ID: id}, [16]byte{}, 1)
	if err == nil && (id == 0 || len(found) == 0) {
		err = fmt.Errorf("file %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return FileStory{}, err
	}
	return found[0], nil
}

// FileByTracking finds the file that carries a tracking id, or ErrNotFound.
// The records that its rows became carry the same one.
func (l *Ledger) FileByTracking(ctx context.Context, trackingID [16]byte) (FileStory, error) {
	if trackingID == ([16]byte{}) {
		return FileStory{}, fmt.Errorf("file without a tracking id: %w", ErrNotFound)
	}
	found, err := l.stories(ctx, FileFilter{}, trackingID, 1)
	if err != nil {
		return FileStory{}, err
	}
	if len(found) == 0 {
		return FileStory{}, fmt.Errorf("file with tracking id %s: %w", record.ID(trackingID), ErrNotFound)
	}
	return found[0], nil
}

// RejectedRow is a row of a file that is rejected.
type RejectedRow struct {
	Number, Line         int64
	Record               record.ID
	Class, Code, Message string
	Detail               []byte // JSON: a list of fault.Problem
}

// RejectedRows gives a page of the file's rows that are still rejected, in their order.
func (l *Ledger) RejectedRows(ctx context.Context, file, after int64, limit int) ([]RejectedRow, error) {
	return collect(ctx, l, "file_rejects", pgx.NamedArgs{"file": file, "after": after, "rows": limit}, func(c pgx.CollectableRow) (RejectedRow, error) {
		var r RejectedRow
		var id pgtype.UUID
		var detail string
		err := c.Scan(&r.Number, &r.Line, &id, &r.Class, &r.Code, &r.Message, &detail)
		r.Record, r.Detail = id.Bytes, []byte(detail)
		return r, err
	})
}

// ReportTurn is a report that is this caller's to deliver until its lease ends.
type ReportTurn struct {
	File   int64
	Try    int  // of this end of the file, from 1
	Failed bool // a try failed before, which was told
	ended  time.Time
}

// TakeReport takes the next report of a source that is due, for lease; false: there is none.
func (l *Ledger) TakeReport(ctx context.Context, integration, source string, lease time.Duration) (t ReportTurn, ok bool, err error) {
	err = l.pool.QueryRow(ctx, l.queries["take_report"], pgx.NamedArgs{"integration": integration, "source": source, "lease": lease}).Scan(&t.File, &t.Try, &t.ended, &t.Failed)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, false, nil
	}
	if err != nil {
		return t, false, fmt.Errorf("ledger: take a report of %s/%s: %w", integration, source, err)
	}
	return t, true, nil
}

// EndReport says that a report was delivered, or why not: then it is due again after wait.
// It says nothing of the report on a file that has ended anew since.
func (l *Ledger) EndReport(ctx context.Context, t ReportTurn, failure string, wait time.Duration) error {
	return l.execute(ctx, fmt.Sprintf("end the report on file %d", t.File), "end_report",
		pgx.NamedArgs{"id": t.File, "try": t.Try, "ended_at": t.ended, "error": cleanText(failure, maxMessageBytes), "wait": wait})
}

// FileName is a name that is read where it lies, or fetched from afar.
type FileName struct {
	Integration, Source, Name string
	Stamp                     string // size, time of change and tag: another one is another file
}

func (n FileName) args(session int64) pgx.NamedArgs {
	return pgx.NamedArgs{"integration": n.Integration, "source": n.Source, "name": cleanText(n.Name, 1024), "stamp": cleanText(n.Stamp, 1024), "session": session, "lapse": SessionLapse}
}

// LeaseName leases a name before it is fetched. known: it was read as it is (with
// again, one that failed does not count); mine: it is this session's until that
// ends or gives it back (RememberName, ReleaseName, ForgetName).
func (l *Ledger) LeaseName(ctx context.Context, session int64, n FileName, again bool) (mine, known bool, err error) {
	args := n.args(session)
	args["again"] = again
	err = l.transact(ctx, "lease "+n.Name, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, l.queries["lease_name"], args); err != nil {
			return err
		}
		return tx.QueryRow(ctx, l.queries["seen_name"], args).Scan(&known, &mine)
	})
	return mine && !known, known, err
}

// RememberName notes what was read of the name, and gives it back.
func (l *Ledger) RememberName(ctx context.Context, session int64, n FileName, hash [32]byte, file int64, failed bool) error {
	args := n.args(session)
	args["hash"], args["file"], args["failed"] = hash[:], file, failed
	return l.execute(ctx, "remember "+n.Name, "remember_name", args)
}

// ReleaseName gives the name back, unread.
func (l *Ledger) ReleaseName(ctx context.Context, session int64, n FileName) error {
	return l.execute(ctx, "release "+n.Name, "release_name", n.args(session))
}

// ForgetName gives the name back when the file is gone from there.
func (l *Ledger) ForgetName(ctx context.Context, session int64, n FileName) error {
	return l.execute(ctx, "forget "+n.Name, "forget_name", n.args(session))
}

// FileRequest is a look that a person asked for.
type FileRequest struct {
	ID                  int64
	Integration, Source string
	Actor               string
	AllowFile           int64 // carry out the deletions of this file instead; 0: look
}

// FileAnswer is what became of a FileRequest.
type FileAnswer struct {
	BegunAt, EndedAt *time.Time
	Found            int    // files that ended during the look
	Waiting          int    // files that are there but not whole, or somebody else's
	Error            string // why the look failed
}

// AskFiles asks the ingest that has the source to look at once.
func (l *Ledger) AskFiles(ctx context.Context, integration, source, actor string) (id int64, err error) {
	err = l.pool.QueryRow(ctx, l.queries["ask_files"], pgx.NamedArgs{"integration": integration, "source": source, "actor": cleanText(actor, 200), "allow_file": int64(0)}).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("ledger: ask for the files of %s/%s: %w", integration, source, err)
	}
	return id, nil
}

// AllowDeletes lets a failed snapshot make the deletions that were refused, and
// asks for it; ErrNotAllowed if it is not the newest file of its source.
func (l *Ledger) AllowDeletes(ctx context.Context, file int64, actor string) (r FileRequest, err error) {
	r = FileRequest{Actor: actor, AllowFile: file}
	args := pgx.NamedArgs{"id": file, "actor": cleanText(actor, 200), "allow_file": file}
	err = l.transact(ctx, fmt.Sprintf("allow the deletions of file %d", file), func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, l.queries["allow_deletes"], args).Scan(&r.Integration, &r.Source)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotAllowed
		}
		if err != nil {
			return err
		}
		args["integration"], args["source"] = r.Integration, r.Source
		return tx.QueryRow(ctx, l.queries["ask_files"], args).Scan(&r.ID)
	})
	return r, err
}

// TakeRequests takes at most limit open requests about the sources ("integration/source").
func (l *Ledger) TakeRequests(ctx context.Context, session int64, sources []string, limit int) ([]FileRequest, error) {
	return collect(ctx, l, "take_requests", pgx.NamedArgs{"session": session, "sources": sources, "rows": limit, "lapse": SessionLapse}, pgx.RowToStructByPos[FileRequest])
}

// EndRequest answers a request.
func (l *Ledger) EndRequest(ctx context.Context, id int64, a FileAnswer) error {
	return l.execute(ctx, fmt.Sprintf("answer request %d", id), "end_request",
		pgx.NamedArgs{"id": id, "found": a.Found, "waiting": a.Waiting, "error": cleanText(a.Error, maxMessageBytes)})
}

// FileAnswer says what became of a request so far.
func (l *Ledger) FileAnswer(ctx context.Context, id int64) (FileAnswer, error) {
	found, err := collect(ctx, l, "file_request", pgx.NamedArgs{"id": id}, pgx.RowToStructByPos[FileAnswer])
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("request %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return FileAnswer{}, err
	}
	return found[0], nil
}
