package checker

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waybill.internal/test/torture/journal"
)

// record is a row of the ledger, with its history in the order of its fences.
type record struct {
	id, key, entity, source string
	state, outcomeState     string
	fence                   int64
	outcome                 int
	class, code, detail     string
	history                 []attempt
}

type attempt struct {
	fence           int64
	kind, event     string
	from, to, actor string
	number          int
	session         int64
	ended           time.Time
}

type place struct {
	day time.Time
	seq int64
}

type event struct {
	requestNo string
	fate      journal.Fate
	product   string
	corrected bool // the corrected body was surely taken
	unknown   int  // answers that say nothing
	answers   []journal.Sent
}

type fileRow struct {
	journal.Row
	file *journal.Dropped
}

type file struct {
	state                      string
	rows, received, duplicates int64
}

type upsert struct {
	productKey, crmID string
	written           int
}

// world is everything that is known at the end of a run.
type world struct {
	// The journals.
	sent    []journal.Sent // answers
	events  map[string]*event
	dropped []*journal.Dropped
	fileRow map[string]*fileRow // by idempotency key: hash:number
	calls   []journal.Called
	callsOf map[string][]int // by request number: into calls
	told    []journal.Told
	faults  []journal.Fault
	crashes []journal.Crash
	topic   []journal.Message
	// The ledger.
	records        []*record
	byID, byKey    map[string]*record
	perKey         map[string]int
	waits          map[string]bool // id/kind, without a due time
	tallied        map[string]int64
	claims         map[string][]int64 // by record id: the fences of claims that made a call
	rowsOf         map[string]upsert  // by request number
	file           map[string]file    // by hash
	fileDuplicates int64
}

func newWorld() *world {
	return &world{events: map[string]*event{}, fileRow: map[string]*fileRow{}, callsOf: map[string][]int{}, byID: map[string]*record{}, byKey: map[string]*record{},
		perKey: map[string]int{}, waits: map[string]bool{}, tallied: map[string]int64{}, claims: map[string][]int64{}, rowsOf: map[string]upsert{}, file: map[string]file{}}
}

// fateOf is what must become of a record, by the journal of who sent it.
func (w *world) fateOf(r *record) journal.Fate {
	if e := w.events[r.key]; e != nil {
		return e.fate
	}
	if row := w.fileRow[r.key]; row != nil {
		return row.Fate
	}
	return journal.NoRecord
}

func (w *world) productOf(r *record) string {
	if e := w.events[r.key]; e != nil {
		return e.product
	}
	if row := w.fileRow[r.key]; row != nil {
		return row.Product
	}
	return ""
}

func (w *world) readJournals(dir string) error {
	err := journal.Read(dir, journal.SenderFile, w.addSent)
	if err == nil {
		err = journal.Read(dir, journal.FilesFile, w.addDropped)
	}
	if err == nil {
		err = journal.Read(dir, journal.ThirdPartyFile, w.addCall)
	}
	if err == nil {
		err = journal.Read(dir, journal.PartnerFile, func(t journal.Told) { w.told = append(w.told, t) })
	}
	if err == nil {
		err = journal.Read(dir, journal.NemesisFile, func(f journal.Fault) { w.faults = append(w.faults, f) })
	}
	if err == nil {
		err = journal.Read(dir, journal.CrashesFile, func(c journal.Crash) { w.crashes = append(w.crashes, c) })
	}
	if err == nil {
		err = journal.Read(dir, journal.TopicsFile, func(m journal.Message) { w.topic = append(w.topic, m) })
	}
	return err
}

func (w *world) addSent(s journal.Sent) {
	e := w.events[s.Event]
	if e == nil {
		e = &event{requestNo: s.RequestNo, fate: s.Fate, product: s.Product}
		w.events[s.Event] = e
	}
	if s.Phase == journal.Intent {
		e.unknown++ // until its answer is read: an intent without one is unknown
		return
	}
	if ok(s.Status) || definite(s.Status) {
		e.unknown--
	}
	e.corrected = e.corrected || s.Corrected && ok(s.Status)
	e.answers = append(e.answers, s)
	w.sent = append(w.sent, s)
}

func (w *world) addDropped(d journal.Dropped) {
	w.dropped = append(w.dropped, &d)
	for _, row := range d.Rows {
		w.fileRow[d.Hash+":"+strconv.Itoa(row.Number)] = &fileRow{row, &d}
	}
}

func (w *world) addCall(c journal.Called) {
	w.callsOf[c.RequestNo] = append(w.callsOf[c.RequestNo], len(w.calls))
	w.calls = append(w.calls, c)
}

func (w *world) readLedger(ctx context.Context, conn *pgx.Conn) error {
	places := map[place]*record{}
	for _, read := range []func() error{
		func() error { return w.readRecords(ctx, conn, places) },
		func() error { return w.readHistory(ctx, conn, places) },
		func() error { return w.readClaims(ctx, conn, places) },
		func() error { return w.readRest(ctx, conn) },
	} {
		if err := read(); err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
	}
	return nil
}

func each(ctx context.Context, conn *pgx.Conn, query string, scan func(pgx.Rows) error) error {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (w *world) readRecords(ctx context.Context, conn *pgx.Conn, places map[place]*record) error {
	return each(ctx, conn, `SELECT id::text, day, seq, key, entity_key, source, state, fence, outcome, outcome_state, class, code, coalesce(detail::text, '') FROM record`, func(rows pgx.Rows) error {
		r, at := &record{}, place{}
		if err := rows.Scan(&r.id, &at.day, &at.seq, &r.key, &r.entity, &r.source, &r.state, &r.fence, &r.outcome, &r.outcomeState, &r.class, &r.code, &r.detail); err != nil {
			return err
		}
		w.records = append(w.records, r)
		w.byID[r.id], w.byKey[r.key], places[at] = r, r, r
		w.perKey[r.key]++
		return nil
	})
}

func (w *world) readHistory(ctx context.Context, conn *pgx.Conn, places map[place]*record) error {
	return each(ctx, conn, `SELECT day, seq, fence, kind, number, event, from_state, to_state, session, actor, ended_at FROM attempt ORDER BY day, seq, fence`, func(rows pgx.Rows) error {
		var a attempt
		var at place
		if err := rows.Scan(&at.day, &at.seq, &a.fence, &a.kind, &a.number, &a.event, &a.from, &a.to, &a.session, &a.actor, &a.ended); err != nil {
			return err
		}
		r := places[at]
		if r == nil {
			return fmt.Errorf("a history row of day %s, seq %d belongs to no record", at.day.Format(time.DateOnly), at.seq)
		}
		r.history = append(r.history, a)
		return nil
	})
}

func (w *world) readClaims(ctx context.Context, conn *pgx.Conn, places map[place]*record) error {
	return each(ctx, conn, `SELECT DISTINCT record_day, seq, fence FROM interaction WHERE kind = 'call' AND seq IS NOT NULL AND fence IS NOT NULL`, func(rows pgx.Rows) error {
		var at place
		var fence int64
		if err := rows.Scan(&at.day, &at.seq, &fence); err != nil {
			return err
		}
		r := places[at]
		if r == nil {
			return fmt.Errorf("an interaction of day %s, seq %d belongs to no record", at.day.Format(time.DateOnly), at.seq)
		}
		w.claims[r.id] = append(w.claims[r.id], fence)
		return nil
	})
}

func (w *world) readRest(ctx context.Context, conn *pgx.Conn) error {
	err := each(ctx, conn, `SELECT record_id::text, kind FROM waiting WHERE due_at IS NULL`, func(rows pgx.Rows) error {
		var id, kind string
		err := rows.Scan(&id, &kind)
		w.waits[id+"/"+kind] = true
		return err
	})
	if err != nil {
		return err
	}
	err = each(ctx, conn, `SELECT measure, sum(delta)::bigint FROM tally GROUP BY measure`, func(rows pgx.Rows) error {
		var measure string
		var sum int64
		err := rows.Scan(&measure, &sum)
		w.tallied[measure] = sum
		return err
	})
	if err != nil {
		return err
	}
	err = each(ctx, conn, `SELECT request_no, coalesce(product_key, ''), coalesce(crm_id, ''), written FROM service_requests`, func(rows pgx.Rows) error {
		var no string
		var u upsert
		err := rows.Scan(&no, &u.productKey, &u.crmID, &u.written)
		w.rowsOf[no] = u
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, conn, `SELECT hash, state, rows_done, received, duplicates FROM file`, func(rows pgx.Rows) error {
		var hash []byte
		var f file
		err := rows.Scan(&hash, &f.state, &f.rows, &f.received, &f.duplicates)
		w.file[strings.ToLower(hex.EncodeToString(hash))] = f
		w.fileDuplicates += f.duplicates
		return err
	})
}
