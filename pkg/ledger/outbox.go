package ledger

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

// Published says where the messages of a batch ended: per partition the offset
// after the last of them, -1 where there is none.
type Published struct {
	ID   BatchID
	Ends []int64
}

// MarkPublished notes that Kafka has acknowledged these batches. Those that hold
// nothing (dead letters) are deleted instead: pass them to DropBatches.
func (l *Ledger) MarkPublished(ctx context.Context, published []Published) error {
	// In id order: two that mark the same batches must not wait for each other in a circle.
	published = slices.SortedFunc(slices.Values(published), func(a, b Published) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	ids, ends := make([]pgtype.UUID, len(published)), make([]string, len(published))
	for i, p := range published {
		texts := make([]string, len(p.Ends))
		for j, end := range p.Ends {
			texts[j] = strconv.FormatInt(end, 10)
		}
		ids[i], ends[i] = nullUUID(p.ID), strings.Join(texts, ",")
	}
	return l.execute(ctx, fmt.Sprintf("mark %d batches published", len(published)), "mark_published", pgx.NamedArgs{"ids": ids, "ends": ends})
}

func batchUUIDs(ids []BatchID) []pgtype.UUID {
	out := make([]pgtype.UUID, len(ids))
	for i, id := range ids {
		out[i] = nullUUID(id)
	}
	return out
}

// DropBatches deletes outbox rows under which no record waits.
func (l *Ledger) DropBatches(ctx context.Context, ids []BatchID) error {
	return l.execute(ctx, fmt.Sprintf("drop %d batches", len(ids)), "delete_outbox", pgx.NamedArgs{"ids": batchUUIDs(ids)})
}

// HandToRelay gives up on publishing from memory: the relay takes these batches.
func (l *Ledger) HandToRelay(ctx context.Context, ids []BatchID) error {
	return l.execute(ctx, fmt.Sprintf("hand %d batches to the relay", len(ids)), "hand_to_relay", pgx.NamedArgs{"ids": batchUUIDs(ids)})
}

// TakeUnpublished makes at most limit batches this session's whose publisher is
// gone, or has not published them for publishPatience. Items hold the records
// that still wait under each; a batch without any has no items and is to be
// dropped. A batch whose waiting records were all claimed was published after
// all: it is marked so, with no ends to wait for, and not returned.
func (l *Ledger) TakeUnpublished(ctx context.Context, session int64, limit int) ([]Batch, error) {
	var batches []Batch
	err := l.transact(ctx, "take unpublished batches", func(tx pgx.Tx) error {
		args := pgx.NamedArgs{"session": session, "rows": limit, "lapse": SessionLapse, "patience": publishPatience}
		rows, err := tx.Query(ctx, l.queries["take_unpublished"], args)
		if err != nil {
			return err
		}
		var ids [][]record.ID
		batches, ids = nil, nil
		_, err = pgx.CollectRows(rows, func(c pgx.CollectableRow) (struct{}, error) {
			b, members, err := scanBatch(c)
			batches, ids = append(batches, b), append(ids, members)
			return struct{}{}, err
		})
		if err != nil {
			return err
		}
		taken := batches
		batches = nil
		var claimed []BatchID
		for i, b := range taken {
			items, working, err := l.itemsOf(ctx, tx, b, ids[i])
			if err != nil {
				return err
			}
			if len(items) == 0 && working {
				claimed = append(claimed, b.ID)
				continue
			}
			b.Items = items
			batches = append(batches, b)
		}
		if len(claimed) == 0 {
			return nil
		}
		_, err = tx.Exec(ctx, l.queries["mark_claimed"], pgx.NamedArgs{"ids": batchUUIDs(claimed)})
		return err
	})
	if err != nil {
		return nil, err
	}
	return batches, nil
}

func scanBatch(c pgx.CollectableRow) (Batch, []record.ID, error) {
	var id pgtype.UUID
	var members []pgtype.UUID
	var due pgtype.Timestamptz
	var b Batch
	err := c.Scan(&id, &b.Topic, &members, &due)
	b.ID, b.Due = id.Bytes, due.Time
	ids := make([]record.ID, len(members))
	for i, m := range members {
		ids[i] = m.Bytes
	}
	return b, ids, err
}

// itemsOf reads the records that a batch still holds. A dead letter is held by
// no batch: its record only has to be dead still. claimed: some of its records
// are being worked, so its messages did reach the topic.
func (l *Ledger) itemsOf(ctx context.Context, q querier, b Batch, ids []record.ID) (items []Item, claimed bool, err error) {
	rows, _, err := l.load(ctx, q, "read_records", ids)
	if err != nil {
		return nil, false, err
	}
	for i, id := range ids {
		r, ok := rows[id]
		if !ok || (b.Topic != string(record.TopicDeadLetter) && r.batch != b.ID) || (b.Topic == string(record.TopicDeadLetter) && r.State != record.Dead) {
			continue
		}
		if b.Topic != string(record.TopicDeadLetter) && working(r.Record) {
			claimed = true
			continue
		}
		items = append(items, Item{Record: r.Record, Due: b.Due, Index: i})
	}
	return items, claimed, nil
}

// PublishedBatch is an outbox row whose messages Kafka acknowledged.
type PublishedBatch struct {
	ID    BatchID
	Topic string
	Ends  []int64
	Epoch int
	Due   time.Time
	At    time.Time // when it was marked published, by the ledger's clock
}

// PublishedAfter pages through the published batches in the order of their ids.
func (l *Ledger) PublishedAfter(ctx context.Context, after BatchID, limit int) ([]PublishedBatch, error) {
	rows, err := l.pool.Query(ctx, l.queries["published_outbox"], pgx.NamedArgs{"after": pgtype.UUID{Bytes: after, Valid: true}, "rows": limit})
	if err != nil {
		return nil, fmt.Errorf("ledger: read published batches: %w", err)
	}
	batches, err := pgx.CollectRows(rows, func(c pgx.CollectableRow) (PublishedBatch, error) {
		var b PublishedBatch
		var id pgtype.UUID
		var due pgtype.Timestamptz
		err := c.Scan(&id, &b.Topic, &b.Ends, &b.Epoch, &due, &b.At)
		b.ID, b.Due = id.Bytes, due.Time
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("ledger: read published batches: %w", err)
	}
	return batches, nil
}

// SeeTopics notes topics' end offsets and returns every topic's epoch: an
// epoch rises when a topic proves shorter than it was, so that whatever was
// published in an older epoch is gone. Because several processes read ends at
// their own pace, shorter ends are believed only when they are seen again
// topicConfirm later and nobody has seen the full length in between.
func (l *Ledger) SeeTopics(ctx context.Context, ends map[string][]int64) (map[string]int, error) {
	epochs := make(map[string]int, len(ends))
	err := l.transact(ctx, "note the topics' ends", func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		for _, topic := range slices.Sorted(maps.Keys(ends)) { // in one order, against deadlocks
			b.Queue(l.queries["see_topic"], pgx.NamedArgs{"topic": topic, "ends": ends[topic], "confirm": topicConfirm})
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, l.queries["topic_epochs"])
		if err != nil {
			return err
		}
		var topic string
		var epoch int
		_, err = pgx.ForEachRow(rows, []any{&topic, &epoch}, func() error {
			epochs[topic] = epoch
			return nil
		})
		return err
	})
	return epochs, err
}

// Passed settles what became of batches whose every message was consumed or is
// gone. Records still waiting under one were lost and go out again in a new
// batch; those whose worker's session has lapsed are taken over, if takeover
// is true; a batch that holds nothing is dropped. It returns what to publish,
// and the records that were lost or taken over. A batch that another re-driver
// has in hand is left to it.
func (l *Ledger) Passed(ctx context.Context, session int64, ids []BatchID, takeover bool) ([]Batch, []record.Record, error) {
	m := &moves{}
	var lost []record.Record
	err := l.transact(ctx, "re-drive", func(tx pgx.Tx) error {
		*m, lost = moves{session: session}, nil
		all, dues, err := l.members(ctx, tx, ids)
		if err != nil || len(dues) == 0 {
			return err
		}
		rows, now, err := l.load(ctx, tx, "lock_records", all)
		if err != nil {
			return err
		}
		// After the locks: a session that is opened later cannot have claimed any of these.
		live, err := l.liveSessions(ctx, tx)
		if err != nil {
			return err
		}
		m.now = now
		holds := make(map[BatchID]bool)
		for _, id := range all {
			row, ok := rows[id]
			if !ok || !dues.has(row.batch) {
				continue // it has moved on, and waits under another batch or none
			}
			if working(row.Record) && (!takeover || live[row.Session]) {
				holds[row.batch] = true
				continue
			}
			f, h := lostFact(row.Record, dues[row.batch])
			if to, ok := l.step(m, row, f, h, 0); ok {
				lost = append(lost, to)
			} else {
				holds[row.batch] = true // never drop what a record stands under
			}
			delete(rows, id) // an older batch of this call may name it as well
		}
		return l.write(ctx, tx, m, func(b *pgx.Batch) {
			var empty []BatchID
			for id := range dues {
				if !holds[id] {
					empty = append(empty, id)
				}
			}
			b.Queue(l.queries["delete_outbox"], pgx.NamedArgs{"ids": batchUUIDs(empty)})
		})
	})
	if err != nil {
		return nil, nil, err
	}
	return m.batches, lost, nil
}

type dueTimes map[BatchID]time.Time

func (d dueTimes) has(id BatchID) bool { _, ok := d[id]; return ok }

func working(r record.Record) bool {
	return r.State == record.Processing || r.Outcome.State == record.OutcomeSent
}

func lostFact(r record.Record, due time.Time) (record.Fact, History) {
	switch {
	case r.State == record.Processing:
		return record.Fact{Event: record.Lost}, History{Kind: ProcessHistory}
	case r.Outcome.State == record.OutcomeSent:
		return record.Fact{Event: record.SendLost}, History{Kind: NotifyHistory}
	case r.State.Final():
		return record.Fact{Event: record.SendLost}, History{}
	default:
		return record.Fact{Event: record.Redriven, Until: due}, History{}
	}
}

// members locks the batches, and lists their records.
func (l *Ledger) members(ctx context.Context, tx pgx.Tx, ids []BatchID) ([]record.ID, dueTimes, error) {
	rows, err := tx.Query(ctx, l.queries["outbox_ids"], pgx.NamedArgs{"ids": batchUUIDs(ids)})
	if err != nil {
		return nil, nil, err
	}
	var members []record.ID
	dues := make(dueTimes)
	var id pgtype.UUID
	var records []pgtype.UUID
	var due pgtype.Timestamptz
	_, err = pgx.ForEachRow(rows, []any{&id, &records, &due}, func() error {
		dues[id.Bytes] = due.Time
		for _, r := range records {
			members = append(members, r.Bytes)
		}
		return nil
	})
	return members, dues, err
}

func (l *Ledger) liveSessions(ctx context.Context, q querier) (map[int64]bool, error) {
	rows, err := q.Query(ctx, l.queries["live_sessions"], pgx.NamedArgs{"lapse": SessionLapse})
	if err != nil {
		return nil, err
	}
	live := make(map[int64]bool)
	var id int64
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error {
		live[id] = true
		return nil
	})
	return live, err
}

// Release puts what has waited long enough in the ledger back on a topic: at
// most limit waiting rows, and never more than MaxBatch, earliest first.
// Several may release at once.
func (l *Ledger) Release(ctx context.Context, session int64, limit int) ([]Batch, error) {
	m := &moves{}
	err := l.transact(ctx, "release what is due", func(tx pgx.Tx) error {
		*m = moves{session: session}
		due, err := tx.Query(ctx, l.queries["due_waiting"], pgx.NamedArgs{"rows": min(limit, MaxBatch)})
		if err != nil {
			return err
		}
		var ids []record.ID
		var id pgtype.UUID
		var kind record.Wait
		if _, err = pgx.ForEachRow(due, []any{&id, &kind}, func() error {
			ids = append(ids, id.Bytes)
			return nil
		}); err != nil || len(ids) == 0 {
			return err
		}
		// Never waits: a settler holds the record and waits for the waiting row that is locked here.
		// A record that is busy is left for the next release.
		rows, now, err := l.load(ctx, tx, "lock_free_records", ids)
		if err != nil {
			return err
		}
		m.now = now
		stale := waitingRows{}
		var missing []record.ID
		for _, id := range ids {
			row, ok := rows[id]
			if !ok {
				missing = append(missing, id)
				continue
			}
			fact := record.Fact{Event: record.Due}
			if row.State == record.Parked {
				fact.Event = record.Released
			}
			if _, ok = l.step(m, row, fact, History{}, 0); !ok {
				stale.add(id)
			}
		}
		return l.write(ctx, tx, m, func(b *pgx.Batch) {
			stale.queueDelete(l, b)
			if len(missing) > 0 {
				b.Queue(l.queries["drop_orphan_waits"], pgx.NamedArgs{"ids": uuids(missing)})
			}
		})
	})
	if err != nil {
		return nil, err
	}
	return m.batches, nil
}

// waitingRows are rows whose record is gone or has moved on: nothing waits there.
type waitingRows struct {
	ids   []pgtype.UUID
	kinds []string
}

func (w *waitingRows) add(id record.ID) {
	for _, kind := range []record.Wait{record.WaitRetry, record.WaitParked, record.WaitOutcome} {
		w.ids, w.kinds = append(w.ids, pgtype.UUID{Bytes: id, Valid: true}), append(w.kinds, string(kind))
	}
}

func (w *waitingRows) queueDelete(l *Ledger, b *pgx.Batch) {
	if len(w.ids) > 0 {
		b.Queue(l.queries["delete_waiting"], pgx.NamedArgs{"ids": w.ids, "kinds": w.kinds})
	}
}
