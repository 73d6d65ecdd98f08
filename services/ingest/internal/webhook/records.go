package webhook

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

const (
	defaultLimit = 100
	// readTimeout bounds what is asked of the ledger for a page.
	readTimeout = 3 * time.Second
)

// Records is one page of a listing.
type Records struct {
	Records []Receipt `json:"records"`
	Cursor  string    `json:"cursor"` // where to go on, now or later
	More    bool      `json:"more"`   // there is more already
}

// records answers GET /v1/records: what the integrations of the key that is
// shown have received, in the order in which it became visible.
func (x *exchange) records() {
	if !x.reads("get the records") {
		return
	}
	allowed, ok := x.mayRead()
	if !ok {
		return
	}
	q, bad := listing(x.r.URL.RawQuery)
	if bad != "" {
		x.turnAway(http.StatusBadRequest, "bad_parameter", bad)
		return
	}
	q.Integrations = allowed
	ctx, cancel := x.within(readTimeout)
	defer cancel()
	page, err := x.ledger.List(ctx, q)
	if err != nil {
		x.log.Warn("records could not be listed", zap.String("tracking_id", x.tracking.String()), zap.Error(err))
		x.askAgain()
		return
	}
	if !x.note(http.StatusOK, allowed[0], "") {
		return
	}
	out := Records{Records: make([]Receipt, len(page.Records)), Cursor: page.Next.String(), More: page.More}
	for i, r := range page.Records {
		out.Records[i] = receiptOf(ledger.Receipt{Record: r})
	}
	x.answer(http.StatusOK, out)
}

// listing reads the parameters; bad says what is wrong with them.
func listing(query string) (q ledger.Listing, bad string) {
	q.Limit = defaultLimit
	values, err := url.ParseQuery(query)
	if err != nil {
		return q, "the parameters cannot be read: " + err.Error()
	}
	for name, given := range values {
		if len(given) != 1 {
			return q, strconv.Quote(shorten(name)) + " is given more than once"
		}
		value := given[0]
		switch name {
		case "since":
			// An offset's plus sign that was not escaped is read as a blank.
			if q.Since, err = time.Parse(time.RFC3339, strings.ToUpper(strings.ReplaceAll(value, " ", "+"))); err != nil {
				return q, "since must be a time such as 2026-01-31T12:00:00Z"
			}
		case "cursor":
			if q.After, err = ledger.ParsePlace(value); err != nil {
				return q, "cursor must be one that an earlier answer gave"
			}
		case "state":
			if q.State = record.State(value); !slices.Contains(record.States(), q.State) {
				return q, "state must be one of " + states()
			}
		case "limit":
			if q.Limit, err = strconv.Atoi(value); err != nil || q.Limit < 1 || q.Limit > ledger.MaxList {
				return q, "limit must be a whole number from 1 to " + strconv.Itoa(ledger.MaxList)
			}
		default:
			return q, "there is no parameter " + strconv.Quote(shorten(name)) + "; there are since, cursor, state and limit"
		}
	}
	return q, ""
}

func states() string {
	var names []string
	for _, s := range record.States() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

func shorten(s string) string { return strings.ToValidUTF8(s[:min(len(s), 60)], "?") }
