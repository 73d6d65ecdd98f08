package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
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
}

// TakeFile begins a file or, if the session that read it has lapsed, goes on
// with it. A file that is done, or that another live session reads, is not Mine.
func (l *Ledger) TakeFile(ctx context.Context, session int64, f File) (File, error) {
	args := pgx.NamedArgs{"integration": f.Integration, "source": f.Source, "name": cleanText(f.Name, 1024), "size": f.Size,
		"hash": f.Hash[:], "session": session, "tracking_id": nullUUID(f.TrackingID), "lapse": SessionLapse}
	var holder int64
	var mark string
	var tracking pgtype.UUID
	err := l.pool.QueryRow(ctx, l.queries["take_file"], args).Scan(&f.ID, &f.State, &holder, &mark, &f.Rows, &f.Received, &f.Rejected, &f.Duplicates, &tracking)
	if err != nil {
		return f, fmt.Errorf("ledger: take file %s: %w", f.Name, err)
	}
	f.Mark, f.TrackingID = []byte(mark), tracking.Bytes
	f.Mine = f.State == "reading" && holder == session
	return f, nil
}

// ErrFileLost says that the file is another session's now: stop reading it.
var ErrFileLost = errors.New("the file is read by another session now")

// AcceptRows accepts a chunk of a file's rows and moves its mark in the same
// transaction, so that a crash resumes exactly after the last chunk.
func (l *Ledger) AcceptRows(ctx context.Context, session int64, f File, mark any, rows int64, arrivals []Arrival) ([]Receipt, []Batch, error) {
	if err := bounded("accept rows of "+f.Name, len(arrivals)); err != nil {
		return nil, nil, err
	}
	document, err := json.Marshal(mark)
	if err != nil {
		return nil, nil, fmt.Errorf("mark of file %s: %w", f.Name, err)
	}
	receipts := make([]Receipt, len(arrivals))
	var batches []Batch
	err = l.transact(ctx, "accept rows of "+f.Name, func(tx pgx.Tx) error {
		clear(receipts)
		var known []int
		if batches, known, err = l.insert(ctx, tx, session, arrivals, receipts); err != nil {
			return err
		}
		if len(known) > 0 {
			healed, err := l.duplicates(ctx, tx, session, arrivals, known, receipts)
			if err != nil {
				return err
			}
			batches = append(batches, healed...)
		}
		args := pgx.NamedArgs{"id": f.ID, "session": session, "mark": string(document), "rows_done": rows}
		args["received"], args["rejected"], args["duplicates"] = countRows(receipts)
		tag, err := tx.Exec(ctx, l.queries["move_file"], args)
		if err == nil && tag.RowsAffected() != 1 {
			err = ErrFileLost
		}
		return err
	})
	if err != nil {
		return nil, nil, splitOnDataFault(err)
	}
	return receipts, batches, nil
}

func countRows(receipts []Receipt) (received, rejected, duplicates int64) {
	for _, r := range receipts {
		switch {
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

// EndFile closes a file: done, or failed with the reason. Its rows stay.
func (l *Ledger) EndFile(ctx context.Context, session int64, f File, failure string) error {
	state := "done"
	if failure != "" {
		state = "failed"
	}
	tag, err := l.pool.Exec(ctx, l.queries["end_file"], pgx.NamedArgs{"id": f.ID, "session": session, "state": state, "error": cleanText(failure, maxMessageBytes)})
	if err == nil && tag.RowsAffected() != 1 {
		err = ErrFileLost
	}
	if err != nil {
		return fmt.Errorf("ledger: end file %s: %w", f.Name, err)
	}
	return nil
}

// FileStory is what the ledger keeps about a dropped file.
type FileStory struct {
	Name, Integration, Source      string
	Size                           int64  // bytes
	State                          string // reading, done or failed
	Rows                           int64  // read and committed, whatever became of them
	Received, Rejected, Duplicates int64  // the rejected are among the received
	Error                          string // why it failed
	StartedAt                      time.Time
	EndedAt                        *time.Time // nil before it ended once; one that is dropped again after it failed keeps the old time
}

// FileByTracking finds the file that carries a tracking id, or ErrNotFound.
// The records that its rows became carry the same one.
func (l *Ledger) FileByTracking(ctx context.Context, trackingID [16]byte) (FileStory, error) {
	found, err := collect(ctx, l, "file_by_tracking", pgx.NamedArgs{"tracking_id": nullUUID(trackingID)}, pgx.RowToStructByPos[FileStory])
	if err != nil {
		return FileStory{}, err
	}
	if len(found) == 0 {
		return FileStory{}, fmt.Errorf("file with tracking id %s: %w", record.ID(trackingID), ErrNotFound)
	}
	return found[0], nil
}
