package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"waybill.internal/pkg/planted"
	"waybill.internal/pkg/record"
)

// Settlement ends a claim: what happened, what to write, what to remember.
type Settlement struct {
	ID           record.ID
	Fence        int64 // the claim's
	Fact         record.Fact
	History      History
	Upserts      []Upsert
	Interactions []Interaction
}

// Upsert is one row for a table of the ledger's own database, written in the
// transaction that settles its record, and only if the claim still holds.
type Upsert struct {
	Table   string   // a name or schema.name, checked when the integration was loaded
	Key     []string // columns of a unique constraint
	Columns []string // every column to write, the key's included
	Row     []byte   // JSON object: column to value
	Sort    string   // the key's values, to keep two writers in one order
}

// Settled is the answer to one settlement, in the order they were given.
type Settled struct {
	Record record.Record
	Held   bool // false: the record was not this claim's any more, and nothing was done
}

// Settle ends claims in one transaction: record rows, upserts, step results,
// outcomes, tally and outbox together. An error whose Split method is true
// was caused by one settlement's values, such as an upsert the table refuses.
func (l *Ledger) Settle(ctx context.Context, session int64, settlements []Settlement) ([]Settled, []Batch, error) {
	if err := bounded("settle records", len(settlements)); err != nil {
		return nil, nil, err
	}
	var settled []Settled
	var upserts []Upsert
	m := &moves{}
	err := l.transact(ctx, "settle records", func(tx pgx.Tx) error {
		settled = make([]Settled, len(settlements))
		*m = moves{session: session}
		ids := make([]record.ID, len(settlements))
		for i, s := range settlements {
			ids[i] = s.ID
		}
		rows, now, err := l.load(ctx, tx, "lock_records", ids)
		if err != nil {
			return err
		}
		m.now = now
		upserts = nil
		calls := &interactionColumns{}
		for i, s := range settlements {
			row, ok := rows[s.ID]
			if !ok || row.Fence != s.Fence && !planted.FenceDropped {
				continue
			}
			to, ok := l.step(m, row, s.Fact, s.History, i)
			if !ok {
				continue
			}
			delete(rows, s.ID)
			settled[i] = Settled{Record: to, Held: true}
			upserts = append(upserts, s.Upserts...)
			for _, call := range s.Interactions {
				call = call.about(to, call.Kind)
				call.Fence = s.Fence
				calls.add(call)
			}
		}
		return l.write(ctx, tx, m, func(b *pgx.Batch) {
			if !planted.StepApart {
				queueUpserts(b, upserts)
			}
			calls.queue(l, b)
		})
	})
	if planted.StepApart && err == nil {
		b := &pgx.Batch{}
		queueUpserts(b, upserts)
		err = l.pool.SendBatch(ctx, b).Close()
	}
	if err != nil {
		if slices.ContainsFunc(settlements, func(s Settlement) bool { return len(s.Upserts) > 0 }) {
			return nil, nil, splitOnAnswer(err)
		}
		return nil, nil, splitOnDataFault(err)
	}
	return settled, m.batches, nil
}

// queueUpserts writes one statement per table and set of columns. Rows go in
// the order of their keys, so that two settlements never wait for each other
// in a circle; of two rows with one key the later one stands.
func queueUpserts(b *pgx.Batch, upserts []Upsert) {
	groups := make(map[string][]Upsert) // by statement
	statements := make(map[string]string)
	for _, u := range upserts {
		shape := strings.Join(append([]string{u.Table, strings.Join(u.Key, "\x00")}, u.Columns...), "\x00")
		statement, ok := statements[shape]
		if !ok {
			statement = u.statement()
			statements[shape] = statement
		}
		groups[statement] = append(groups[statement], u)
	}
	for _, statement := range slices.Sorted(maps.Keys(groups)) {
		group := groups[statement]
		slices.SortStableFunc(group, func(a, b Upsert) int { return cmp.Compare(a.Sort, b.Sort) })
		rows := make([][]byte, 0, len(group))
		for i, u := range group {
			if i > 0 && u.Sort == group[i-1].Sort {
				rows = rows[:len(rows)-1]
			}
			rows = append(rows, u.Row)
		}
		// A row that is no JSON fails the statement with a data fault.
		b.Queue(statement, "["+string(bytes.Join(rows, []byte{','}))+"]")
	}
}

// statement lets Postgres read each value as its column's type.
func (u Upsert) statement() string {
	table := pgx.Identifier(strings.Split(u.Table, ".")).Sanitize()
	quoted := make([]string, len(u.Columns))
	var set []string
	for i, c := range u.Columns {
		quoted[i] = pgx.Identifier{c}.Sanitize()
		if !slices.Contains(u.Key, c) {
			set = append(set, quoted[i]+" = EXCLUDED."+quoted[i])
		}
	}
	keys := make([]string, len(u.Key))
	for i, c := range u.Key {
		keys[i] = pgx.Identifier{c}.Sanitize()
	}
	action := "NOTHING"
	if len(set) > 0 {
		action = "UPDATE SET " + strings.Join(set, ", ")
	}
	columns := strings.Join(quoted, ", ")
	return fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM jsonb_populate_recordset(NULL::%s, $1::jsonb) ON CONFLICT (%s) DO %s",
		table, columns, columns, table, strings.Join(keys, ", "), action)
}
