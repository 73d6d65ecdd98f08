package simulation

import "waybill.internal/pkg/record"

// releaseFollowers lets the next of an entity go when what it stood behind is final.
func (tx *txn) releaseFollowers() {
	var freed []int
	for _, c := range tx.changes {
		if r := tx.staged[c.Record]; r != nil && r.order == perEntity && record.State(c.To).Final() && c.From != c.To {
			freed = append(freed, r.entity)
		}
	}
	for _, entity := range freed {
		for i := range tx.ledger.rows {
			if o := tx.ledger.rows[i]; o.order != perEntity || o.entity != entity {
				continue
			}
			r := tx.row(i)
			if r.rec.State == record.Parked && r.rec.Failure.Code == codeBehind && !r.held && tx.move(r, record.Fact{Event: record.Released}, act{}) {
				break
			}
		}
	}
}

// ahead says whether r must wait: behind a predecessor that is not final, or
// for another of its entity that is being worked.
func (tx *txn) ahead(r *row) (behind, busy bool) {
	for i := range tx.ledger.rows {
		o := tx.ledger.rows[i]
		if s, ok := tx.staged[i]; ok {
			o = s
		}
		if i == r.index || o.order != perEntity || o.entity != r.entity {
			continue
		}
		behind = behind || (i < r.index && !o.rec.State.Final())
		busy = busy || o.rec.State == record.Processing
	}
	return behind, busy
}

// overtaken says whether a newer record of the entity is processed.
func (tx *txn) overtaken(r *row) bool {
	if r.order != latestWins {
		return false
	}
	for _, o := range tx.ledger.rows[r.index+1:] {
		if o.order == latestWins && o.entity == r.entity && o.rec.State == record.Processed {
			return true
		}
	}
	return false
}
