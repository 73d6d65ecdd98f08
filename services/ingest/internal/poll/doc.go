// Package poll asks partners' APIs for what is new; every item is a record.
//
// A source is leased in the ledger: whatever the number of ingests, one session
// polls it, so that its rate holds and a run is made once. A run asks page by
// page. The page's records and the place where the next page begins are one
// transaction, so a crash goes on behind the last page that is kept; a page
// larger than a transaction is kept in pieces, and asked for again if the last
// of them is missing, which makes duplicates of the others.
//
// # What is asked for
//
// A run asks for what changed since the high-water mark less `overlap`. The mark
// is the highest time that the items themselves tell (`since.field`), so that a
// partner's wrong clock does no harm, and never later than the run's beginning
// by either clock, so that one item from the future does none. Without a field it
// is the run's beginning, by the earlier of the two clocks. It moves when a run
// has ended, and only forward.
//
// What changes while pages are numbered (page, offset) pushes items over page
// boundaries that were passed. Such a run is made again, at most maxPasses times,
// until one pass has brought nothing new.
//
// # What goes wrong
//
//   - An item that cannot be a record is a rejected record; the page goes on.
//   - An answer that cannot be read, a timeout, 429 or 5xx ends the turn. The
//     next one goes on at the same page, after a growing wait with jitter, or
//     after Retry-After if that is longer.
//   - 401, 403 and failures of TLS are told at once, and tried slowly.
//   - 4xx to a kept place (a cursor that ran out) begins the run anew, at most
//     maxRestarts times; else the request itself is wrong, which is told.
//   - The same cursor twice, the same page twice in a row, or many pages without
//     anything new end the run without moving the mark, and are told.
//
// # Ranges
//
// `waybill poll run --since --until` leaves a request in the ledger. It is worked
// between regular runs under the same lease and rate, and does not move the mark. A
// regular run that takes longer than its interval takes turns with it.
//
// # Missed webhooks
//
// A poll with `missed` reads the list of events that a provider has sent. Its
// idempotency key is that of the webhook, so an event that arrived is a duplicate;
// one that did not becomes a record, is counted, and told with the others of its
// run in one alert. Where the list is a summary, `detail` is asked for the events
// that the ledger does not know.
package poll
