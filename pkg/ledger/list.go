package ledger

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"waybill.internal/pkg/record"
)

const (
	// MaxList bounds the records of one page.
	MaxList = 500
	// scanList is how many records one page looks through for a state or a time.
	scanList = 5000
	// arrivalSlack bounds how much later than its transaction's clock a record gets its place:
	// longer than any transaction of ours may last.
	arrivalSlack = time.Minute
)

// Place is where a listing stands: behind one record, in the order in which
// records became visible. The zero Place is before all of them.
type Place struct {
	arrived uint64 // id of the transaction that brought the record
	seq     int64
}

// ErrPlace says that a text is no Place.
var ErrPlace = errors.New("this is no cursor that a listing gave")

const placeVersion = 1

// String is the place as an opaque text of characters that need no escaping in a URL.
func (p Place) String() string {
	raw := binary.BigEndian.AppendUint64([]byte{placeVersion}, p.arrived)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(raw, uint64(p.seq)))
}

// ParsePlace reads what String gave; the error is ErrPlace.
func ParsePlace(text string) (Place, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != 17 || raw[0] != placeVersion {
		return Place{}, ErrPlace
	}
	p := Place{binary.BigEndian.Uint64(raw[1:]), int64(binary.BigEndian.Uint64(raw[9:]))}
	if p.arrived > math.MaxInt64 || p.seq < 0 {
		return Place{}, ErrPlace
	}
	return p, nil
}

// Listing asks for records.
type Listing struct {
	Integrations []string // whose records; none gives none
	After        Place
	Since        time.Time    // leaves out what was accepted before; zero: nothing
	State        record.State // only records that are in it now; "": any
	Limit        int          // 1 to MaxList
}

// Page of a listing. It may have fewer records than the limit, or none, and More
// all the same: so much of the ledger is looked through for one page.
type Page struct {
	Records []record.Record
	Next    Place // behind the last record that was looked at
	More    bool  // there may be more behind Next already
}

// List reads records in the order in which they became visible. A record is
// listed only when no transaction that began to write before it is still under
// way, so nothing ever appears in front of a place that was given; a long
// transaction makes what comes after it wait, and is never skipped.
func (l *Ledger) List(ctx context.Context, q Listing) (Page, error) {
	if q.Limit < 1 || q.Limit > MaxList {
		return Page{}, fmt.Errorf("ledger: list records: %d in one page, 1 to %d are allowed", q.Limit, MaxList)
	}
	if !q.Since.IsZero() {
		start, err := l.arrivedSince(ctx, q.Integrations, q.Since.Add(-arrivalSlack))
		if err != nil {
			return Page{}, err
		}
		if start > 0 && start-1 > q.After.arrived {
			q.After = Place{start - 1, math.MaxInt64}
		}
	}
	scan := q.Limit + 1
	if q.State != "" || !q.Since.IsZero() {
		scan = scanList
	}
	found, err := collect(ctx, l, "list_places", pgx.NamedArgs{"integrations": q.Integrations, "arrived": int64(q.After.arrived), "seq": q.After.seq, "rows": scan}, scanSighting)
	if err != nil {
		return Page{}, err
	}
	page, ids := q.choose(found, scan)
	records, err := l.Records(ctx, ids)
	if err != nil {
		return Page{}, fmt.Errorf("ledger: list records: %w", err)
	}
	for _, id := range ids {
		// One that has moved on since it was looked up is not in that state any more.
		if r, ok := records[id]; ok && (q.State == "" || r.State == q.State) {
			page.Records = append(page.Records, r)
		}
	}
	return page, nil
}

// sighting is what the index and a glance at its row tell of a record.
type sighting struct {
	id         record.ID
	place      Place
	state      record.State
	acceptedAt time.Time
}

func scanSighting(c pgx.CollectableRow) (sighting, error) {
	var s sighting
	var id pgtype.UUID
	var arrived int64
	err := c.Scan(&id, &arrived, &s.place.seq, &s.state, &s.acceptedAt)
	s.id, s.place.arrived = id.Bytes, uint64(arrived)
	return s, err
}

// choose takes what is wanted, up to the limit, and the place behind the last one looked at.
func (q Listing) choose(found []sighting, scan int) (Page, []record.ID) {
	page := Page{Next: q.After, More: len(found) == scan}
	var ids []record.ID
	for _, s := range found {
		if len(ids) == q.Limit {
			page.More = true
			break
		}
		page.Next = s.place
		if (q.State == "" || s.state == q.State) && !s.acceptedAt.Before(q.Since) {
			ids = append(ids, s.id)
		}
	}
	return page, ids
}

// arrivedSince finds the least transaction id from which on a record of these
// integrations can have been accepted at or after a time; 0: any. Times rise with
// the ids but for arrivalSlack, so the range of ids is halved, by the index alone.
func (l *Ledger) arrivedSince(ctx context.Context, integrations []string, since time.Time) (uint64, error) {
	ends, err := collect(ctx, l, "arrived_range", pgx.NamedArgs{"integrations": integrations}, func(c pgx.CollectableRow) ([2]int64, error) {
		var e [2]int64
		return e, c.Scan(&e[0], &e[1])
	})
	if err != nil || len(ends) == 0 || ends[0][0] == 0 {
		return 0, err // what came before there was an order of arrival has no range to halve
	}
	low, high := ends[0][0], ends[0][1]+1 // the answer lies in [low, high]
	for low < high {                      // at most 63 times
		middle := low + (high-low)/2
		at, err := collect(ctx, l, "arrived_at", pgx.NamedArgs{"integrations": integrations, "arrived": middle}, func(c pgx.CollectableRow) (sighting, error) {
			var s sighting
			var arrived int64
			err := c.Scan(&arrived, &s.acceptedAt)
			s.place.arrived = uint64(arrived)
			return s, err
		})
		if err != nil {
			return 0, err
		}
		if len(at) == 0 || !at[0].acceptedAt.Before(since) {
			high = middle
		} else {
			low = int64(at[0].place.arrived) + 1
		}
	}
	return uint64(low), nil
}
