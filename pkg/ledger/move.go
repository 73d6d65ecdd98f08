package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
	"waybill.internal/pkg/retry"
)

// BatchID names an outbox row: a UUIDv7, so that rows lie in the order in which they were made.
type BatchID [16]byte

func newBatchID() BatchID { return BatchID(uuid.Must(uuid.NewV7())) }

func (id BatchID) String() string { return uuid.UUID(id).String() }

// Batch is the messages that one transaction made true for one topic.
type Batch struct {
	ID    BatchID
	Topic string    // without the installation's prefix
	Due   time.Time // with a retry topic: when its messages are due
	Items []Item
	// Stored: the payloads are those of the ledger, not the caller's.
	Stored bool
}

// Item is one message of a batch: the record as the transaction left it.
type Item struct {
	Record record.Record
	Due    time.Time
	Index  int // of the caller's argument that it came from
}

// History is what a transition leaves in the record's history.
type History struct {
	Kind      HistoryKind
	Actor     string // a person, with acts
	Steps     []byte // JSON: results of finished steps, or nil
	StartedAt time.Time
	Failure   record.Failure // with NotifyHistory: why the partner's answer confirmed nothing
}

// HistoryKind is the kind of a history row.
type HistoryKind string

const (
	NoHistory      HistoryKind = ""
	ProcessHistory HistoryKind = "process"
	NotifyHistory  HistoryKind = "notify"
	ActHistory     HistoryKind = "act"
)

// move is one transition that Step allowed.
type move struct {
	from    row
	to      record.Record
	effects []record.Effect
	event   record.Event
	history History
	index   int
}

// moves collects the transitions of one transaction and writes them together.
type moves struct {
	session int64 // who publishes the batches from memory; 0: the relay
	now     time.Time
	list    []move
	batches []Batch
	room    int // for so many items a new batch has room at once
}

// step asks record.Step about one locked row; false: the fact is not true of it any more.
func (l *Ledger) step(m *moves, from row, f record.Fact, h History, index int) (record.Record, bool) {
	to, effects, err := record.Step(l.terms(from.Integration).Policy, from.Record, f, m.now)
	if err != nil {
		return from.Record, false // ErrIllegal is Step's only error: somebody else moved it
	}
	m.list = append(m.list, move{from: from, to: to, effects: effects, event: f.Event, history: h, index: index})
	return to, true
}

// topicName is the topic of an effect, without the installation's prefix.
func topicName(lane string, e record.Effect) string {
	switch e.Publish {
	case record.TopicResult, record.TopicDeadLetter:
		return string(e.Publish)
	case record.TopicRetryAfter:
		return lane + ".retry." + retry.DelayName(e.Delay)
	default:
		return lane + "." + string(e.Publish)
	}
}

// post puts an item into the batch of its topic and says which batch that is.
func (m *moves) post(topic string, item Item) BatchID {
	for i := range m.batches {
		if b := &m.batches[i]; b.Topic == topic && len(b.Items) < MaxBatch {
			b.Items = append(b.Items, item)
			if item.Due.After(b.Due) {
				b.Due = item.Due
			}
			return b.ID
		}
	}
	b := Batch{ID: newBatchID(), Topic: topic, Due: item.Due, Items: append(make([]Item, 0, min(m.room, MaxBatch)), item)}
	m.batches = append(m.batches, b)
	return b.ID
}

// keepInserted drops from the batches what was not new, and fills in what the insert gave.
func keepInserted(batches []Batch, inserted []bool, receipts []Receipt) []Batch {
	kept := batches[:0]
	for _, b := range batches {
		items := b.Items[:0]
		for k := range b.Items {
			if i := b.Items[k].Index; inserted[i] {
				items = append(items, b.Items[k])
				items[len(items)-1].Record = receipts[i].Record
			}
		}
		if b.Items = items; len(items) > 0 {
			kept = append(kept, b)
		}
	}
	return kept
}

// write sends everything the moves cause in one round trip. The rows are
// locked: a row count that differs is a broken invariant and fails the transaction.
func (l *Ledger) write(ctx context.Context, tx pgx.Tx, m *moves, more ...func(*pgx.Batch)) error {
	if len(m.list) == 0 && len(more) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	if len(m.list) > 0 {
		l.queueRows(b, m)
		l.queueWaiting(b, m)
		l.queueHistory(b, m)
		l.queueTally(b, m)
	}
	for _, queue := range more {
		queue(b)
	}
	return tx.SendBatch(ctx, b).Close()
}

func (l *Ledger) queueRows(b *pgx.Batch, m *moves) {
	n := len(m.list)
	c := newColumns(n)
	for _, mv := range m.list {
		batch := mv.from.batch
		if mv.event != record.Claimed && mv.event != record.Isolated && mv.event != record.Sent {
			batch = [16]byte{} // a new batch holds it, or nothing does
		}
		lane := l.terms(mv.to.Integration).Lane
		for _, e := range mv.effects {
			if e.Publish == "" {
				continue
			}
			id := m.post(topicName(lane, e), Item{Record: mv.to, Due: e.Due, Index: mv.index})
			if e.Publish != record.TopicDeadLetter { // nobody consumes it: it holds nothing
				batch = id
			}
		}
		c.add(mv.from.Record, mv.to, batch)
	}
	b.Queue(l.queries["move_records"], c.args()).Exec(func(tag pgconnTag) error {
		if tag.RowsAffected() != int64(n) {
			return fmt.Errorf("moved %d of %d locked records: a row changed under its lock", tag.RowsAffected(), n)
		}
		return nil
	})
	for _, batch := range m.batches {
		ids := make([]pgtype.UUID, len(batch.Items))
		for i, item := range batch.Items {
			ids[i] = pgtype.UUID{Bytes: item.Record.ID, Valid: true}
		}
		b.Queue(l.queries["insert_outbox"], pgx.NamedArgs{"id": nullUUID(batch.ID), "topic": batch.Topic, "ids": ids, "session": m.session, "due": nullTime(batch.Due)})
	}
}

func (l *Ledger) queueWaiting(b *pgx.Batch, m *moves) {
	var in, out struct {
		ids   []pgtype.UUID
		kinds []string
		dues  []pgtype.Timestamptz
	}
	for _, mv := range m.list {
		id := pgtype.UUID{Bytes: mv.to.ID, Valid: true}
		for _, e := range mv.effects {
			if e.Unwait != "" {
				out.ids, out.kinds = append(out.ids, id), append(out.kinds, string(e.Unwait))
			}
			if e.Wait != "" {
				in.ids, in.kinds, in.dues = append(in.ids, id), append(in.kinds, string(e.Wait)), append(in.dues, nullTime(e.Due))
			}
		}
	}
	if len(out.ids) > 0 {
		b.Queue(l.queries["delete_waiting"], pgx.NamedArgs{"ids": out.ids, "kinds": out.kinds})
	}
	if len(in.ids) > 0 {
		b.Queue(l.queries["insert_waiting"], pgx.NamedArgs{"ids": in.ids, "kinds": in.kinds, "dues": in.dues})
	}
}

func (l *Ledger) queueHistory(b *pgx.Batch, m *moves) {
	h := newHistoryColumns(len(m.list))
	for _, mv := range m.list {
		if mv.history.Kind != NoHistory {
			h.add(mv)
		}
	}
	if len(h.seqs) > 0 {
		b.Queue(l.queries["insert_attempts"], h.args())
	}
}

func (l *Ledger) queueTally(b *pgx.Batch, m *moves) {
	t := tally{}
	for _, mv := range m.list {
		t.add(mv.to.Integration, "state:"+string(mv.from.State), -1)
		t.add(mv.to.Integration, "state:"+string(mv.to.State), 1)
		t.add(mv.to.Integration, "outcome:"+string(mv.from.Outcome.State), -1)
		t.add(mv.to.Integration, "outcome:"+string(mv.to.Outcome.State), 1)
	}
	t.queue(l, b)
}

type tallyKey struct{ integration, measure string }

// tally is deltas by integration and measure; "outcome:none" is not counted.
type tally map[tallyKey]int64

func (t tally) add(integration, measure string, delta int64) {
	if measure != "outcome:"+string(record.NoOutcome) {
		t[tallyKey{integration, measure}] += delta
	}
}

func (t tally) queue(l *Ledger, b *pgx.Batch) {
	var integrations, measures []string
	var deltas []int64
	for k, delta := range t {
		if delta != 0 {
			integrations, measures, deltas = append(integrations, k.integration), append(measures, k.measure), append(deltas, delta)
		}
	}
	if len(deltas) > 0 {
		b.Queue(l.queries["insert_tally"], pgx.NamedArgs{"integrations": integrations, "measures": measures, "deltas": deltas})
	}
}
