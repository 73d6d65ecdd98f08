package ledgertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func auditPromises() []promise {
	list := []promise{{name: "an empty ledger balances", test: func(*fixture) {}}}
	for seed := range uint64(3) {
		list = append(list, promise{name: fmt.Sprintf("a random walk balances, seed %d", seed), test: func(f *fixture) { walk(f, seed) }})
	}
	for name, damage := range map[string]string{
		"a state changed by hand":       `UPDATE record SET state = 'superseded' WHERE state = 'processed'`,
		"a row deleted by hand":         `DELETE FROM record WHERE state = 'processed'`,
		"a tally row deleted by hand":   `DELETE FROM tally WHERE ctid = (SELECT ctid FROM tally WHERE measure = 'state:processed' LIMIT 1)`,
		"an outbox row gone":            `DELETE FROM outbox WHERE topic = 'main.work'`,
		"a waiting row gone":            `DELETE FROM waiting`,
		"a worker gone for good":        `DELETE FROM session WHERE id = (SELECT session FROM record WHERE state = 'processing')`,
		"a measure nobody knows":        `INSERT INTO tally VALUES ('shop', 'unheard', 1)`,
		"an outcome closed by hand":     `UPDATE record SET outcome_state = 'acknowledged' WHERE state = 'processed'`,
		"an integration nobody tallied": `UPDATE record SET integration = 'other' WHERE state = 'processed'`,
	} {
		list = append(list, promise{name: "audit sees " + name, damages: true, test: func(f *fixture) { seesDamage(f, damage) }})
	}
	return list
}

func seesDamage(f *fixture, damage string) {
	session := f.session()
	for _, state := range []record.State{record.Queued, record.Processing, record.Processed, record.Dead, record.Parked} {
		f.inState(session, state)
	}
	f.balanced()
	if f.exec(damage) == 0 {
		f.Fatal("the damage touched nothing")
	}
	a := f.audit()
	if a.Unaccounted == 0 || len(a.Differences) == 0 {
		f.Errorf("unaccounted %d, differences %v", a.Unaccounted, a.Differences)
	}
}

// walker does one random act after the other, against whatever it finds.
type walker struct {
	*fixture
	random  *rand.Rand
	session int64
}

func walk(f *fixture, seed uint64) {
	const workers, acts = 4, 80
	f.exec(target)
	var wg sync.WaitGroup
	for worker := range workers {
		w := &walker{fixture: f, random: rand.New(rand.NewPCG(seed, uint64(worker))), session: f.session()}
		wg.Go(func() {
			for i := range acts {
				if err := w.act(); err != nil {
					f.Errorf("seed %d, worker %d, act %d: %v", seed, worker, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if one[int](f, `SELECT count(DISTINCT state) FROM record`) < 6 {
		f.Error("the walk met too few states to prove anything")
	}
	f.exec(`UPDATE session SET renewed_at = now() + interval '1 hour'`) // what they hold is under way
}

func (w *walker) act() (err error) {
	switch w.random.IntN(12) {
	case 0, 1, 2:
		return w.arrive()
	case 3, 4, 5, 6:
		return w.work()
	case 7:
		var ids []ledger.BatchID
		if ids, err = w.batchIDs(); err == nil {
			_, _, err = w.l.Passed(w.Context(), w.session, ids, w.random.IntN(2) == 0)
		}
	case 8:
		if _, err = w.db.Exec(w.Context(), `UPDATE waiting SET due_at = now() WHERE due_at IS NOT NULL AND random() < 0.5`); err == nil {
			_, err = w.l.Release(w.Context(), w.session, 5)
		}
	case 9:
		events := []record.Event{record.Requeued, record.Replayed, record.Discard, record.Held, record.SendRequeued}
		_, err = w.l.Do(w.Context(), ledger.Act{Event: events[w.random.IntN(len(events))], Actor: "walker"}, w.someIDs(6))
	case 10:
		err = w.relay()
	default:
		for _, id := range w.someIDs(3) {
			if _, err = w.l.Confirm(w.Context(), id, 1+w.random.IntN(2)); err != nil {
				return err
			}
		}
		err = w.l.FoldTally(w.Context(), 50)
	}
	return err
}

func (w *walker) arrive() error {
	var arrivals []ledger.Arrival
	for range 1 + w.random.IntN(8) {
		a := w.arrivalOf([]string{shop, mute}[w.random.IntN(2)], say(w.random.IntN(60)))
		a.Payload.Body = fmt.Append(nil, w.random.IntN(3))
		a.RefuseConflict = w.random.IntN(4) == 0
		if w.random.IntN(4) == 0 {
			a = invalid(a)
		}
		arrivals = append(arrivals, a)
	}
	_, batches, err := w.l.Accept(w.Context(), w.session, arrivals)
	if err != nil || w.random.IntN(3) == 0 {
		return err // a process that dies here publishes nothing
	}
	return w.mark(batches)
}

func (w *walker) mark(batches []ledger.Batch) error {
	var published []ledger.Published
	for _, b := range batches {
		published = append(published, ledger.Published{ID: b.ID, Ends: []int64{1}})
	}
	return w.l.MarkPublished(w.Context(), published)
}

func (w *walker) work() error {
	// A message carries the fence at which its batch was written.
	rows, err := w.db.Query(w.Context(), `SELECT id, fence FROM record WHERE batch IS NOT NULL ORDER BY random() LIMIT 10`)
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, func(c pgx.CollectableRow) (ledger.Ref, error) {
		var id pgtype.UUID
		var ref ledger.Ref
		err := c.Scan(&id, &ref.Fence)
		ref.ID = id.Bytes
		return ref, err
	})
	if err != nil {
		return err
	}
	claim := w.l.Claim
	facts := []record.Fact{{Event: record.Succeeded}, failed(record.ClassSystem), failed(record.ClassData), failed(record.ClassOutage), gaveUp(), {Event: record.GivenBack}, {Event: record.Overtaken}}
	if w.random.IntN(3) == 0 {
		claim = w.l.ClaimOutcomes
		facts = []record.Fact{{Event: record.Confirmed, Number: 1}, {Event: record.Unconfirmed, Failure: record.Failure{Class: record.ClassSystem}}, {Event: record.SendLost}}
	}
	claimed, err := claim(w.Context(), w.session, list)
	if err != nil {
		return err
	}
	if w.random.IntN(5) == 0 { // this worker's process dies; the next one has a new session
		if _, err := w.db.Exec(w.Context(), `UPDATE session SET renewed_at = 'epoch' WHERE id = $1`, w.session); err != nil {
			return err
		}
		return w.db.QueryRow(w.Context(), `INSERT INTO session (service, host, renewed_at) VALUES ('test', 'test', now() + interval '1 hour') RETURNING id`).Scan(&w.session)
	}
	var settlements []ledger.Settlement
	for _, r := range claimed {
		if r.Fence != 0 {
			settlements = append(settlements, settlement(r, facts[w.random.IntN(len(facts))], upsert(r.Key, 1)))
		}
	}
	_, batches, err := w.l.Settle(w.Context(), w.session, settlements)
	if err != nil {
		return err
	}
	return w.mark(batches)
}

func (w *walker) relay() error {
	batches, err := w.l.TakeUnpublished(w.Context(), w.session, 5)
	if err != nil {
		return err
	}
	var empty []ledger.BatchID
	batches = slices.DeleteFunc(batches, func(b ledger.Batch) bool {
		if len(b.Items) == 0 {
			empty = append(empty, b.ID)
		}
		return len(b.Items) == 0
	})
	if err := w.l.DropBatches(w.Context(), empty); err != nil {
		return err
	}
	return w.mark(batches)
}

func (w *walker) some(sql string) ([][16]byte, error) {
	rows, err := w.db.Query(w.Context(), sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(c pgx.CollectableRow) ([16]byte, error) {
		var id pgtype.UUID
		err := c.Scan(&id)
		return id.Bytes, err
	})
}

func (w *walker) someIDs(n int) []record.ID {
	list, err := w.some(fmt.Sprintf(`SELECT id FROM record ORDER BY random() LIMIT %d`, n))
	if err != nil {
		w.Error(err)
	}
	ids := make([]record.ID, len(list))
	for i, id := range list {
		ids[i] = id
	}
	return ids
}

func (w *walker) batchIDs() ([]ledger.BatchID, error) {
	list, err := w.some(`SELECT id FROM outbox ORDER BY random() LIMIT 5`)
	ids := make([]ledger.BatchID, len(list))
	for i, id := range list {
		ids[i] = id
	}
	return ids, err
}
