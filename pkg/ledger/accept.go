package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/planted"
	"waybill.internal/pkg/record"
)

// Arrival is one record as it came in: identified and validated, not yet known.
type Arrival struct {
	ID          record.ID
	Integration string
	Source      string
	Key         string // idempotency key
	EntityKey   string
	Version     int64
	// Failure is why base validation failed, nil if it passed.
	Failure *record.Failure
	// Content is the hash of the decoded body of an integration that keeps the latest version of
	// each entity; nil if it keeps none, or if nobody can tell what this arrival is about.
	Content *[32]byte
	// Row and Line are the place in its file, from 1; 0 for what came in no file.
	Row, Line int64
	// RefuseConflict: a moving or final record with another body is refused
	// instead of getting the first receipt.
	RefuseConflict bool
	// AnyBody: two sources bring copies of the same events, a webhook and the poll that looks for missed ones,
	// so that another body under a key that came from another source is no conflict.
	AnyBody bool
	Payload Payload
	// Request is kept if the arrival turns out to be a duplicate, and is asked for only then, perhaps after
	// the caller's context has ended: most arrivals are new, and copying bodies costs. Nil: nothing is kept.
	Request func() Interaction
}

// Payload is what arrived, byte for byte.
type Payload struct {
	TrackingID  [16]byte
	ContentType string
	Headers     map[string]string
	Body        []byte
	Revision    int32
}

// Receipt is what the sender gets: the record as it stands.
type Receipt struct {
	Record    record.Record
	Duplicate bool // the key was seen before
	Conflict  bool // ... with another body
	Redriven  bool // ... by a record that was stranded and goes out again
	Revived   bool // ... by a rejected record that this arrival corrects
	Refused   bool // ... and the integration refuses conflicts: 409
	Unchanged bool // no record: equal to the latest accepted version of its entity. Duplicate is true as well
}

// bytes of an empty body are not NULL.
func (p Payload) bytes() []byte {
	if p.Body == nil {
		return []byte{}
	}
	return p.Body
}

func (p Payload) hash() []byte {
	sum := sha256.Sum256(p.Body)
	return sum[:]
}

// Accept makes rows of the arrivals in one statement, and answers each: what
// is new becomes a record, what is known gets the record that stands. When it
// returns without an error, every receipt is durable.
//
// An error whose Split method is true was caused by one arrival's values. After
// any other error the arrivals may be durable all the same (a commit's answer
// was lost): the relay publishes what nobody publishes from memory, and a
// sender that tries again gets the first receipt.
func (l *Ledger) Accept(ctx context.Context, session int64, arrivals []Arrival) ([]Receipt, []Batch, error) {
	if err := bounded("accept arrivals", len(arrivals)); err != nil {
		return nil, nil, err
	}
	if tracked(arrivals) {
		return l.acceptTracked(ctx, session, arrivals)
	}
	receipts := make([]Receipt, len(arrivals))
	var batches []Batch
	var known []int
	err := repeat(fmt.Sprintf("accept %d arrivals", len(arrivals)), func() (err error) {
		batches, known, err = l.insert(ctx, l.pool, "accept", session, arrivals, receipts)
		return err
	})
	if err != nil {
		return nil, nil, splitOnDataFault(err)
	}
	if len(known) == 0 {
		return receipts, batches, nil
	}
	var healed []Batch
	err = l.transact(ctx, "answer duplicates", func(tx pgx.Tx) error {
		healed, err = l.duplicates(ctx, tx, session, arrivals, known, receipts)
		return err
	})
	if err != nil {
		l.giveUp(ctx, batches)
		return nil, nil, splitOnDataFault(err)
	}
	return receipts, append(batches, healed...), nil
}

// giveUp lets the relay publish what is committed although the caller gets an
// error. If this fails as well, the relay takes the batches after publishPatience.
func (l *Ledger) giveUp(ctx context.Context, batches []Batch) {
	if len(batches) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	ids := make([]BatchID, len(batches))
	for i, b := range batches {
		ids[i] = b.ID
	}
	_ = l.HandToRelay(ctx, ids) // the caller already has an error
}

// insert answers the new arrivals and returns the indexes of the others. The statement
// is accept, or accept_new.
func (l *Ledger) insert(ctx context.Context, q querier, statement string, session int64, arrivals []Arrival, receipts []Receipt) ([]Batch, []int, error) {
	m := &moves{session: session, now: l.Now(), room: len(arrivals)}
	args, first := l.newArrivals(m, arrivals, receipts)
	args["session"] = session
	batchIDs, topics := make([]pgtype.UUID, len(m.batches)), make([]string, len(m.batches))
	for i, b := range m.batches {
		batchIDs[i], topics[i] = nullUUID(b.ID), b.Topic
	}
	args["batch_ids"], args["batch_topics"] = batchIDs, topics
	if planted.OutboxApart { // only the memory of this process knows of its messages
		args["batch_ids"], args["batch_topics"] = []pgtype.UUID{}, []string{}
	}
	rows, err := q.Query(ctx, l.queries[statement], args)
	if err != nil {
		return nil, nil, err
	}
	inserted, err := readInserted(rows, first, receipts)
	if err != nil {
		return nil, nil, err
	}
	var known []int
	for i := range arrivals {
		if !inserted[i] {
			known = append(known, i)
		}
	}
	return keepInserted(m.batches, inserted, receipts), known, nil
}

// readInserted fills in what the insert gave to the receipts of new records, and marks them.
func readInserted(rows pgx.Rows, first map[[16]byte]int, receipts []Receipt) ([]bool, error) {
	inserted := make([]bool, len(receipts))
	var id pgtype.UUID
	var seq int64
	var day int32
	var now time.Time
	_, err := pgx.ForEachRow(rows, []any{&id, &seq, &day, &now}, func() error {
		i := first[id.Bytes]
		r := &receipts[i].Record
		r.Seq, r.Day, r.AcceptedAt, r.Since, r.MovedAt = seq, day, now, now, now
		if r.Outcome.Number > 0 {
			r.Outcome.Since = now
		}
		inserted[i] = true
		return nil
	})
	return inserted, err
}

// newArrivals steps each arrival from nothing and fills the arrays of `accept`;
// first is the index of each id's first arrival in this call.
func (l *Ledger) newArrivals(m *moves, arrivals []Arrival, receipts []Receipt) (pgx.NamedArgs, map[[16]byte]int) {
	n := len(arrivals)
	first := make(map[[16]byte]int, n)
	ids, batches, trackingIDs := make([]pgtype.UUID, 0, n), make([]pgtype.UUID, 0, n), make([]pgtype.UUID, 0, n)
	integrations, sources, keys, entityKeys := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	versions, outcomes := make([]int64, 0, n), make([]int32, 0, n)
	states, classes, codes, messages := make([]string, 0, n), make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
	details, outcomeStates := make([]pgtype.Text, 0, n), make([]string, 0, n)
	contentTypes, headers, bodies, hashes := make([]string, 0, n), make([]string, 0, n), make([][]byte, 0, n), make([][]byte, 0, n)
	detailed := false
	for i := range arrivals {
		a := &arrivals[i]
		if _, seen := first[a.ID]; seen {
			continue
		}
		first[a.ID] = i
		terms := l.terms(a.Integration)
		to, batch := a.accepted(m, terms, i)
		receipts[i].Record = to
		ids, batches, trackingIDs = append(ids, nullUUID(a.ID)), append(batches, pgtype.UUID{Bytes: batch, Valid: true}), append(trackingIDs, pgtype.UUID{Bytes: a.Payload.TrackingID, Valid: true})
		integrations, sources = append(integrations, a.Integration), append(sources, a.Source)
		keys, entityKeys = append(keys, a.Key), append(entityKeys, a.EntityKey)
		versions, outcomes = append(versions, a.Version), append(outcomes, int32(to.Outcome.Number))
		states, classes, codes = append(states, string(to.State)), append(classes, string(to.Failure.Class)), append(codes, to.Failure.Code)
		messages, details = append(messages, cleanText(to.Failure.Message, maxMessageBytes)), append(details, nullText(to.Failure.Detail))
		detailed = detailed || details[len(details)-1].Valid
		outcomeStates, contentTypes = append(outcomeStates, string(to.Outcome.State)), append(contentTypes, cleanText(a.Payload.ContentType, 200))
		headers, bodies, hashes = append(headers, headerJSON(a.Payload.Headers)), append(bodies, a.Payload.bytes()), append(hashes, a.Payload.hash())
	}
	if !detailed {
		details = nil
	}
	return pgx.NamedArgs{
		"ids": ids, "integrations": alike(integrations), "sources": alike(sources), "keys": keys, "entity_keys": entityKeys, "versions": alike(versions),
		"states": alike(states), "batches": alike(batches), "classes": alike(classes), "codes": alike(codes), "messages": alike(messages), "details": details,
		"outcomes": alike(outcomes), "outcome_states": alike(outcomeStates), "tracking_ids": alike(trackingIDs), "content_types": alike(contentTypes),
		"headers": alike(headers), "bodies": bodies, "hashes": hashes,
	}, first
}

// accepted is the arrival's record, and the batch whose message holds it.
func (a *Arrival) accepted(m *moves, terms Terms, index int) (record.Record, BatchID) {
	fact := record.Fact{Event: record.Accepted}
	if a.Failure != nil {
		fact = record.Fact{Event: record.Invalid, Failure: *a.Failure}
	}
	r := record.Record{ID: a.ID, Integration: a.Integration, Source: a.Source, Key: a.Key, EntityKey: a.EntityKey, Version: a.Version}
	to, effects, err := record.Step(terms.Policy, r, fact, m.now)
	if err != nil {
		panic(fmt.Sprintf("ledger: a new record cannot be %s: %v", fact.Event, err)) // the transition table itself is broken
	}
	var batch BatchID
	for _, e := range effects {
		if e.Publish != "" {
			batch = m.post(topicName(terms.Lane, e), Item{Record: to, Index: index})
		}
	}
	return to, batch
}

// errVanished can only be if a row was deleted between two statements.
var errVanished = errors.New("a record that the insert found is gone: retention ran over it; send it again")

// duplicates answers arrivals whose key is known. A stranded record is
// re-driven, a rejected one with a corrected body is revived; "duplicate" is
// never a reason to lose anything.
func (l *Ledger) duplicates(ctx context.Context, tx pgx.Tx, session int64, arrivals []Arrival, known []int, receipts []Receipt) ([]Batch, error) {
	ids := make([]record.ID, 0, len(known))
	for _, i := range known {
		ids = append(ids, arrivals[i].ID)
	}
	rows, now, err := l.load(ctx, tx, "lock_records", ids)
	if err != nil {
		return nil, err
	}
	stranded, err := l.stranded(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	payloads, err := l.payloads(ctx, tx, ids)
	if err != nil {
		return nil, err
	}
	m, again := &moves{session: session, now: now}, &moves{session: session, now: now}
	counts := tally{}
	revisions, seen := &payloadColumns{}, &interactionColumns{}
	healed := make(map[record.ID]bool)
	for _, i := range known {
		a := arrivals[i]
		row, ok := rows[a.ID]
		if !ok {
			return nil, errVanished
		}
		differs := !bytes.Equal(payloads[a.ID].hash(), a.Payload.hash())
		var receipt Receipt
		if healed[a.ID] { // by an earlier arrival of this very call, which this one meets
			conflict := a.conflicts(row, differs)
			receipt = Receipt{Record: row.Record, Duplicate: true, Conflict: conflict, Refused: conflict && a.RefuseConflict}
		} else {
			receipt = l.heal(m, again, a, row, stranded[a.ID], differs, revisions, i)
		}
		receipt.count(counts, a)
		if a.Request != nil {
			seen.add(a.Request().about(receipt.Record, duplicateKind(receipt)))
		}
		receipts[i] = receipt
		if receipt.Redriven || receipt.Revived {
			healed[a.ID], row.Record = true, receipt.Record
			rows[a.ID] = row
		}
		if receipt.Revived {
			payloads[a.ID] = a.Payload
		}
	}
	err = l.write(ctx, tx, m, func(b *pgx.Batch) {
		revisions.queue(l, b)
		seen.queue(l, b)
		counts.queue(l, b)
	})
	if err == nil {
		err = l.write(ctx, tx, again)
	}
	for _, b := range again.batches {
		b.Stored = true // what is re-driven is the record as it was accepted, not as it came this time
		m.batches = append(m.batches, b)
	}
	return m.batches, err
}

func duplicateKind(r Receipt) string {
	if r.Refused {
		return "refused"
	}
	return "duplicate"
}

func (r Receipt) count(t tally, a Arrival) {
	if r.Refused {
		t.add(a.Integration, "refused", 1)
	} else {
		t.add(a.Integration, "duplicate", 1)
	}
	if r.Conflict {
		t.add(a.Integration, "conflict", 1)
	}
}

// heal decides what a second arrival of row's key means.
func (l *Ledger) heal(m, again *moves, a Arrival, row row, stranded, differs bool, revisions *payloadColumns, index int) Receipt {
	receipt := Receipt{Record: row.Record, Duplicate: true}
	corrected := row.State == record.Rejected && (differs || a.Version != row.Version)
	conflict := a.conflicts(row, differs)
	switch {
	case corrected && a.Failure == nil:
		from := row
		from.Revision++
		from.Version = a.Version
		if to, ok := l.step(m, from, record.Fact{Event: record.Revived}, History{Kind: ActHistory, Actor: "arrival"}, index); ok {
			a.Payload.Revision = from.Revision
			revisions.add(to, a.Payload)
			receipt.Record, receipt.Revived = to, true
		}
	case corrected:
		receipt.Record.Failure = *a.Failure // still wrong: the sender learns what is wrong with this body
	case stranded && !planted.DuplicateNotRedriven:
		fact, history := redriveFact(row.State)
		if to, ok := l.step(again, row, fact, history, index); ok {
			receipt.Record, receipt.Redriven = to, true
		}
		receipt.Conflict, receipt.Refused = conflict, conflict && a.RefuseConflict
	case conflict:
		receipt.Conflict, receipt.Refused = true, a.RefuseConflict
	}
	return receipt
}

// conflicts tells whether another body under the record's key is a matter for a person.
func (a Arrival) conflicts(known row, differs bool) bool {
	return differs && !(a.AnyBody && known.Source != a.Source)
}

func redriveFact(s record.State) (record.Fact, History) {
	switch s {
	case record.Processing:
		return record.Fact{Event: record.Lost}, History{Kind: ProcessHistory}
	case record.Parked:
		return record.Fact{Event: record.Released}, History{}
	default:
		return record.Fact{Event: record.Redriven}, History{}
	}
}

func (l *Ledger) stranded(ctx context.Context, q querier, ids []record.ID) (map[record.ID]bool, error) {
	rows, err := q.Query(ctx, l.queries["stranded"], pgx.NamedArgs{"ids": uuids(ids), "lapse": 2 * SessionLapse})
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[pgtype.UUID])
	if err != nil {
		return nil, err
	}
	set := make(map[record.ID]bool, len(found))
	for _, id := range found {
		set[id.Bytes] = true
	}
	return set, nil
}
