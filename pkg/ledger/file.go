package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

// File is a dropped file and how far it has been read.
type File struct {
	ID                             int64
	Integration, Source, Name      string
	Size                           int64
	Hash                           [32]byte // SHA-256 of its bytes: the same file is recognised under any name
	State                          string   // reading, done or failed
	Mine                           bool     // this session reads it
	Mark                           []byte   // JSON: where to go on, as its reader wrote it
	Rows                           int64
	Received, Rejected, Duplicates int64
	TrackingID                     [16]byte

	// Place tells two files of the same bytes apart that lay there at different times.
	Place   string
	Request int64 // the person's request that it is read for; 0: none
	// Ordered: rows mean something only after those of the files before, since they
	// are compared with the latest version of their entity. Files of the source are
	// read one at a time, and bytes that come again after other ones count again.
	Ordered bool
	// Snapshot: the file holds everything there is; what its rows are about is noted as being in it.
	Snapshot bool
	// Reports: at its end a report is due.
	Reports bool

	Occurrence     int   // of these bytes, from 1
	Previous       int64 // the newest file of the same name and other content, 0: none
	BytesDone      int64 // of the file as it lies there
	Unchanged      int64 // rows equal to the latest version of their entity; among neither the received nor the duplicates
	Deleted        int64 // records made of what disappeared
	Unidentified   int64 // rejected rows of which nobody can tell what they are about
	Known          int64 // entities of the source before this file, with a snapshot
	DeletesAllowed bool  // a person agreed to more than max_deletes
	DeletesRefused int64 // for EndFile: so many were too many
}

// Identity is what the keys of the file's rows begin with: its content, and
// from the second occurrence on which one it is.
func (f File) Identity() string {
	if f.Occurrence > 1 {
		return fmt.Sprintf("%x-%d", f.Hash, f.Occurrence)
	}
	return fmt.Sprintf("%x", f.Hash)
}

// TakeFile begins a file or, if the session that read it has lapsed, goes on
// with it. A file that is done, or that another live session reads, is not Mine;
// neither is an ordered one while another file of its source is read.
func (l *Ledger) TakeFile(ctx context.Context, session int64, f File) (File, error) {
	args := pgx.NamedArgs{"integration": f.Integration, "source": f.Source, "name": cleanText(f.Name, 1024), "size": f.Size, "hash": f.Hash[:], "id": int64(0), "occurrence": 1,
		"session": session, "tracking_id": nullUUID(f.TrackingID), "lapse": SessionLapse, "place": cleanText(f.Place, 1024), "request": f.Request, "snapshot": f.Snapshot}
	taken := f
	err := l.transact(ctx, "take file "+f.Name, func(tx pgx.Tx) (err error) {
		taken = f
		if _, err = tx.Exec(ctx, l.queries["lock_file_source"], args); err != nil {
			return err
		}
		if taken.ID, err = l.begin(ctx, tx, f, args); err != nil || taken.ID == 0 {
			taken.State = "reading"
			return err
		}
		return l.fileRow(ctx, tx, &taken, session)
	})
	return taken, err
}

// begin finds the row of these bytes, makes it this session's if it may be, and
// returns its id; 0: they must wait for another file.
func (l *Ledger) begin(ctx context.Context, tx pgx.Tx, f File, args pgx.NamedArgs) (int64, error) {
	var id int64
	var state, place string
	var occurrence int
	var held, followed bool
	err := tx.QueryRow(ctx, l.queries["find_file"], args).Scan(&id, &state, &place, &occurrence, &held, &followed)
	known := !errors.Is(err, pgx.ErrNoRows)
	if err != nil && known {
		return 0, err
	}
	args["id"] = id
	again := known && f.Ordered && followed && !held && !(state == "done" && place == args["place"])
	switch {
	case known && held:
		return id, nil
	case known && state == "done" && !again:
		_, err := tx.Exec(ctx, l.queries["see_file"], args)
		return id, err
	}
	if f.Ordered {
		var busy bool
		if err := tx.QueryRow(ctx, l.queries["busy_source"], args).Scan(&busy); err != nil || busy {
			return 0, err
		}
		if _, err := tx.Exec(ctx, l.queries["free_files"], args); err != nil {
			return 0, err
		}
	}
	if known && !again {
		_, err := tx.Exec(ctx, l.queries["take_over_file"], args)
		return id, err
	}
	if again {
		if _, err := tx.Exec(ctx, l.queries["overtake_file"], args); err != nil {
			return 0, err
		}
	}
	args["occurrence"] = occurrence + 1
	err = tx.QueryRow(ctx, l.queries["insert_file"], args).Scan(&id)
	return id, err
}

func (l *Ledger) fileRow(ctx context.Context, tx pgx.Tx, f *File, session int64) error {
	var holder int64
	var mark string
	var tracking pgtype.UUID
	var hash []byte
	err := tx.QueryRow(ctx, l.queries["file_row"], pgx.NamedArgs{"id": f.ID}).Scan(&f.ID, &f.State, &holder, &mark, &f.Rows, &f.Received, &f.Rejected, &f.Duplicates, &tracking,
		&f.Occurrence, &f.Previous, &f.BytesDone, &f.Unchanged, &f.Deleted, &f.Unidentified, &f.Known, &f.DeletesAllowed, &f.Name, &f.Size, &hash, &f.Place, &f.Integration, &f.Source)
	if err != nil {
		return err
	}
	f.Mark, f.TrackingID, f.Hash = []byte(mark), tracking.Bytes, [32]byte(hash)
	f.Mine = f.State == "reading" && holder == session
	return nil
}

// ErrFileLost says that the file is another session's now: stop reading it.
var ErrFileLost = errors.New("the file is read by another session now")

// AcceptRows accepts a chunk of a file's rows and moves its mark in the same
// transaction, so that a crash resumes exactly after the last chunk. f.BytesDone
// is how much of the file was read for it. Rows of an ordered file that equal the
// latest accepted version of their entity become no record (Receipt.Unchanged).
func (l *Ledger) AcceptRows(ctx context.Context, session int64, f File, mark any, rows int64, arrivals []Arrival) ([]Receipt, []Batch, error) {
	return l.AcceptRowsBehind(ctx, session, f, mark, rows, arrivals, func() error { return nil })
}

// AcceptRowsBehind is AcceptRows while the chunk before is still being committed.
// inserted is called when the new rows are in, which is when the chunk behind this one
// may begin, so that records are numbered in the order of the file; it returns when
// the chunk before is committed, or with an error, which undoes this one. It may be
// called again, when the transaction is repeated. Not for a file that is ordered or a
// snapshot: what its rows mean depends on the chunk before.
func (l *Ledger) AcceptRowsBehind(ctx context.Context, session int64, f File, mark any, rows int64, arrivals []Arrival, inserted func() error) ([]Receipt, []Batch, error) {
	if err := bounded("accept rows of "+f.Name, len(arrivals)); err != nil {
		return nil, nil, err
	}
	document, err := json.Marshal(mark)
	if err != nil {
		return nil, nil, fmt.Errorf("mark of file %s: %w", f.Name, err)
	}
	receipts := make([]Receipt, len(arrivals))
	var batches []Batch
	accept := func(statement string) error {
		return l.transact(ctx, "accept rows of "+f.Name, func(tx pgx.Tx) error {
			clear(receipts)
			if batches, err = l.acceptRows(ctx, tx, session, f, arrivals, receipts, statement, inserted); err != nil {
				return err
			}
			args := pgx.NamedArgs{"id": f.ID, "session": session, "mark": string(document), "rows_done": rows, "bytes_done": f.BytesDone,
				"unchanged": unchanged(receipts), "unidentified": unidentified(f, arrivals)}
			args["received"], args["rejected"], args["duplicates"] = countRows(receipts)
			tag, err := tx.Exec(ctx, l.queries["move_file"], args)
			if err == nil && tag.RowsAffected() != 1 {
				err = ErrFileLost
			}
			return err
		})
	}
	// Most files bring no row twice, and not to ask saves a sixth of what Postgres does for a row.
	asking := f.Ordered || f.Duplicates > 0
	if !asking {
		err = accept("accept_new")
	}
	if asking || knownRecord(err) {
		err = accept("accept")
	}
	if err != nil {
		return nil, nil, splitOnDataFault(err)
	}
	return receipts, batches, nil
}

// knownRecord reports whether accept_new met a record that is there already.
func knownRecord(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "23505" && pgErr.ConstraintName == "record_pkey"
}

func (l *Ledger) acceptRows(ctx context.Context, tx pgx.Tx, session int64, f File, arrivals []Arrival, receipts []Receipt, statement string, inserted func() error) ([]Batch, error) {
	if !f.Ordered {
		batches, err := l.insertThenHeal(ctx, tx, statement, session, arrivals, receipts, inserted)
		if err == nil && tracked(arrivals) {
			err = l.keepLatest(ctx, tx, arrivals, receipts, f)
		}
		if err == nil {
			err = l.keepRejects(ctx, tx, f, arrivals, receipts)
		}
		return batches, err
	}
	fresh, err := l.changed(ctx, tx, f, arrivals)
	if err != nil {
		return nil, err
	}
	some, answers := make([]Arrival, len(fresh)), make([]Receipt, len(fresh))
	for k, i := range fresh {
		some[k] = arrivals[i]
	}
	batches, err := l.insertThenHeal(ctx, tx, statement, session, some, answers, inserted)
	if err != nil {
		return nil, err
	}
	for b := range batches {
		for k := range batches[b].Items {
			batches[b].Items[k].Index = fresh[batches[b].Items[k].Index]
		}
	}
	for i := range receipts {
		receipts[i] = Receipt{Duplicate: true, Unchanged: true}
	}
	for k, i := range fresh {
		receipts[i] = answers[k]
	}
	if err := l.keepLatest(ctx, tx, arrivals, receipts, f); err != nil {
		return nil, err
	}
	if n := len(arrivals) - len(fresh); n > 0 { // so that arrivals = received + duplicates + refused
		if _, err := tx.Exec(ctx, l.queries["insert_tally"], pgx.NamedArgs{"integrations": []string{f.Integration}, "measures": []string{"duplicate"}, "deltas": []int64{int64(n)}}); err != nil {
			return nil, err
		}
	}
	return batches, l.keepRejects(ctx, tx, f, arrivals, receipts)
}

// keepRejects notes which rows the file's report has to name.
func (l *Ledger) keepRejects(ctx context.Context, tx pgx.Tx, f File, arrivals []Arrival, receipts []Receipt) error {
	var numbers, lines []int64
	var ids []pgtype.UUID
	for i, r := range receipts {
		if a := arrivals[i]; !r.Unchanged && r.Record.State == record.Rejected && a.Row > 0 {
			numbers, lines, ids = append(numbers, a.Row), append(lines, a.Line), append(ids, pgtype.UUID{Bytes: a.ID, Valid: true})
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, l.queries["insert_rejects"], pgx.NamedArgs{"file": f.ID, "numbers": numbers, "lines": lines, "ids": ids})
	return err
}

func countRows(receipts []Receipt) (received, rejected, duplicates int64) {
	for _, r := range receipts {
		switch {
		case r.Unchanged:
		case r.Duplicate:
			duplicates++
		case r.Record.State == record.Rejected:
			rejected++
			received++
		default:
			received++
		}
	}
	return received, rejected, duplicates
}

func unchanged(receipts []Receipt) (n int64) {
	for _, r := range receipts {
		if r.Unchanged {
			n++
		}
	}
	return n
}

func unidentified(f File, arrivals []Arrival) (n int64) {
	for _, a := range arrivals {
		if f.Snapshot && a.Content == nil {
			n++
		}
	}
	return n
}

// ErrNotAllowed says why deletions cannot be allowed, or are not the file's to make any more.
var ErrNotAllowed = errors.New("it is not the newest file of its source, or its deletions were not refused")

// ResumeDeletes takes a file whose refused deletions a person has allowed, to
// carry them out; its rows are accepted already, so its bytes are not needed.
func (l *Ledger) ResumeDeletes(ctx context.Context, session int64, f File) (File, error) {
	args := pgx.NamedArgs{"integration": f.Integration, "source": f.Source, "id": f.ID, "session": session, "lapse": SessionLapse, "request": f.Request}
	taken := f
	err := l.transact(ctx, fmt.Sprintf("take file %d", f.ID), func(tx pgx.Tx) error {
		taken = f
		if _, err := tx.Exec(ctx, l.queries["lock_file_source"], args); err != nil {
			return err
		}
		if err := l.fileRow(ctx, tx, &taken, session); err != nil {
			return err
		}
		args["hash"] = taken.Hash[:]
		var id int64
		var state, place string
		var occurrence int
		var held, followed bool
		if err := tx.QueryRow(ctx, l.queries["find_file"], args).Scan(&id, &state, &place, &occurrence, &held, &followed); err != nil {
			return err
		}
		if id != f.ID || held || followed || !taken.DeletesAllowed || state == "done" {
			return ErrNotAllowed
		}
		args["place"] = place
		if _, err := tx.Exec(ctx, l.queries["take_over_file"], args); err != nil {
			return err
		}
		return l.fileRow(ctx, tx, &taken, session)
	})
	if errors.Is(err, pgx.ErrNoRows) { // there is no such file, or it is another source's
		err = fmt.Errorf("file %d: %w", f.ID, ErrNotAllowed)
	}
	return taken, err
}

// EndFile closes a file: done, or failed with the reason. Its rows stay. With
// f.DeletesRefused a person may allow the deletions later (AllowDeletes).
func (l *Ledger) EndFile(ctx context.Context, session int64, f File, failure string) error {
	state := "done"
	if failure != "" {
		state = "failed"
	}
	tag, err := l.pool.Exec(ctx, l.queries["end_file"], pgx.NamedArgs{"id": f.ID, "session": session, "state": state, "error": cleanText(failure, maxMessageBytes),
		"deletes_refused": f.DeletesRefused, "reports": f.Reports})
	if err == nil && tag.RowsAffected() != 1 {
		err = ErrFileLost
	}
	if err != nil {
		return fmt.Errorf("ledger: end file %s: %w", f.Name, err)
	}
	return nil
}
