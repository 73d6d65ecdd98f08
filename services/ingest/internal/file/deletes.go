package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"waybill.internal/pkg/clock"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/ingest/internal/accept"
)

// deletePage bounds the deletions of one transaction, and with 64 KiB for each
// last version the memory they take.
const deletePage = 250

// codeDeletes is why a snapshot failed whose deletions a person must agree to.
const codeDeletes = "too_many_deletes"

// disappeared makes a record of each entity that the snapshot does not have any
// more, once all its rows are accepted. What a crash leaves is still missing when
// the file is gone on with.
func (r *reading) disappeared() error {
	missing, err := r.countMissing()
	if err != nil || missing == 0 {
		return err
	}
	if err := r.guard(missing); err != nil {
		r.file.DeletesRefused = missing
		return err
	}
	r.log.Info("entities disappeared from the snapshot", zap.Int64("deletions", missing))
	after := ""
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		last, n, err := r.deletePage(after)
		if err != nil {
			return err
		}
		if n < deletePage {
			return nil
		}
		after = last
	}
}

func (r *reading) countMissing() (int64, error) {
	ctx, cancel := context.WithTimeout(r.session.Context(), callTimeout)
	defer cancel()
	return r.Ledger.CountMissing(ctx, r.file)
}

// guard believes an empty or cut file no deletions. Those that were made before
// a crash count, too.
func (r *reading) guard(missing int64) error {
	all, limit := missing+r.file.Deleted, r.Source.file.Snapshot.DeleteLimit(r.file.Known)
	agree := fmt.Sprintf("nothing was deleted. If it is right: waybill file pull --allow-deletes %d", r.file.ID)
	switch {
	case r.file.DeletesAllowed:
		return nil
	case r.file.Unidentified > 0:
		return fault.New(fault.Data, codeDeletes, "%d of %d known entities are not in this snapshot, but of %d of its rows nobody can tell what they are about, so that they may be among them; %s",
			all, r.file.Known, r.file.Unidentified, agree)
	case all > limit:
		return fault.New(fault.Data, codeDeletes, "%d of %d known entities are not in this snapshot, and at most %d deletions are believed: was the file empty, or cut? %s", all, r.file.Known, limit, agree)
	}
	return nil
}

// deletePage makes the deletions of a page of missing entities; last is the key of the last one.
func (r *reading) deletePage(after string) (last string, n int, err error) {
	wait := firstWait
	for {
		if last, n, err = r.tryDeletes(after); err == nil || errors.Is(err, ledger.ErrFileLost) || ledger.DataFault(err) {
			return last, n, err
		}
		r.log.Warn("deletions could not be accepted; they are tried again", zap.Duration("wait", wait), zap.Error(err))
		if clock.Sleep(r.ctx, wait) != nil {
			return "", 0, r.ctx.Err()
		}
		if wait = min(2*wait, maxWait); !r.session.Alive() {
			return "", 0, errSessionEnded
		}
	}
}

// tryDeletes may be repeated after any error: the records' ids are made of the
// file and the entity, and what was deleted is not missing any more.
func (r *reading) tryDeletes(after string) (last string, n int, err error) {
	ctx, cancel := context.WithTimeout(r.session.Context(), callTimeout)
	defer cancel()
	page, err := r.Ledger.MissingEntities(ctx, r.file, after, deletePage)
	if err != nil || len(page) == 0 {
		return "", 0, err
	}
	arrivals := make([]ledger.Arrival, len(page))
	for i, m := range page {
		if arrivals[i], err = r.deletion(ctx, m); err != nil {
			return "", 0, err
		}
	}
	receipts, batches, err := r.Ledger.AcceptDeletes(ctx, r.session.ID, r.file, arrivals)
	if err != nil {
		return "", 0, err
	}
	accept.Publish(ctx, r.Publisher, r.log, batches, arrivals)
	made := 0
	for _, receipt := range receipts {
		if !receipt.Duplicate {
			made++
		}
	}
	r.file.Deleted += int64(made)
	r.count("received", made)
	r.count("duplicate", len(receipts)-made)
	return page[len(page)-1].Key, len(page), nil
}

func (r *reading) deletion(ctx context.Context, m ledger.Missing) (ledger.Arrival, error) {
	key, err := r.Ledger.InstallationKey(ctx)
	if err != nil {
		return ledger.Arrival{}, err
	}
	body, err := integration.DeleteBody(m.Key, m.Body)
	if err != nil {
		return ledger.Arrival{}, fmt.Errorf("the deletion of an entity: %w", err)
	}
	identity := fmt.Sprintf("%s:delete:%x", r.identity, sha256.Sum256([]byte(m.Key)))
	return ledger.Arrival{ID: record.DeriveID(key, r.integration, identity), Integration: r.integration, Source: r.source, Key: identity, EntityKey: m.Key, Version: r.entry.Version,
		Payload: ledger.Payload{TrackingID: r.begun.TrackingID, ContentType: contentType, Body: body,
			Headers: map[string]string{headerName: r.begun.Name, integration.HeaderOperation: integration.OperationDelete}}}, nil
}

// carryOut makes the deletions of a failed snapshot that a person agreed to. Nobody
// would find the file again, so what fails is tried again until the session ends.
func (s *Source) carryOut(ctx context.Context, file int64) error {
	session, err := s.Sessions.Current(ctx)
	if err != nil {
		return err
	}
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		state, err := s.carryOn(ctx, session, file)
		switch {
		case err == nil, state == stateDone: // it was closed before, and that was not told
			s.ended++
			return nil
		case errors.Is(err, ledger.ErrNotAllowed), errors.Is(err, errGone), ledger.DataFault(err):
			return err
		case !session.Alive():
			return errors.Join(errSessionEnded, err)
		}
		s.Log.Warn("deletions that a person allowed could not be made; they are tried again", zap.Int64("file_id", file), zap.Duration("wait", wait), zap.Error(err))
		if clock.Sleep(ctx, wait) != nil {
			return ctx.Err()
		}
	}
}

// carryOn goes on with the deletions. The file's rows are in the ledger, so its
// bytes are not needed. It gives the state in which it found the file.
func (s *Source) carryOn(ctx context.Context, session *ledger.Session, file int64) (state string, err error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	f, err := s.Ledger.ResumeDeletes(call, session.ID, s.terms(ledger.File{ID: file, Integration: s.integration, Source: s.source, Request: s.request}))
	cancel()
	if err != nil {
		return f.State, fmt.Errorf("the deletions of file %d: %w", file, err)
	}
	r := &reading{Source: s, ctx: ctx, session: session, file: f, begun: f, identity: f.Identity(), log: s.Log.With(zap.Int64("file_id", f.ID), zap.String("file", f.Name))}
	entry, known := s.Catalog.Get(s.integration)
	if !known {
		return f.State, fmt.Errorf("the deletions of file %d: integration %s: %w", file, s.integration, errGone)
	}
	r.entry = entry
	_, err = r.end(r.guardedDeletes())
	return f.State, err
}

var errGone = errors.New("it is not known any more")

func (r *reading) guardedDeletes() (err error) {
	defer r.recovered(&err)
	return r.disappeared()
}
