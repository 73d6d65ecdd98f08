// Package file takes files that partners leave somewhere, one record a row.
//
//	sources, err := file.New(file.Config{...})   // one for each file source of the catalog
//	for _, s := range sources { ... s.Run(ctx) } // each on a goroutine of its own, until ctx ends
//	file.NewDesk(ledger, sessions, log, sources).Run(ctx) // what people ask for
//
// # Looking
//
// A source looks when it starts, on its cron schedule by the ledger's clock, with
// on_arrival as soon as something changes in its directory and every minute
// anyway, and when a person asks (`waybill file pull`). A relative directory lies
// below Config.Root and is made if it is missing; an absolute one that is missing
// is a problem that a person is told of, and is looked for again.
//
// Regular files whose name matches are taken, in the order of their names.
// Hidden names and names that end in .tmp or .part are not looked at; symbolic
// links, pipes and devices are never opened. A file is complete when two looks
// found the same size and time of change for as long as `complete` says, or when
// it was renamed from one of the names that are not looked at; or, if that is
// configured, when its marker is there and not older than it, or at once. Until
// then the source looks again, maxFollowUps times after the time that a file must stand
// and as often a minute apart, and then as scheduled.
//
// # Afar
//
// A place that is not a local directory is listed through package remote. The
// name is leased in the ledger, so that one replica fetches; the bytes go into a
// file below Config.Spool, where a transfer that broke off is gone on with, and
// from there on it is read like any other. One file of a source is there at a
// time, beside beginnings of others, which go after maxSpoolAge.
//
// # Reading
//
// The SHA-256 of its bytes is the file's identity: under another name, or on
// another day, it is recognised and gives nothing new. The same name with another
// content is a new file, whose row names the one before. A file is read by one
// session. Rows are accepted in chunks of at most chunkRows rows or chunkBytes
// bytes, and the place where the next chunk begins is kept in the same
// transaction; whoever goes on after a crash begins exactly there. While one chunk
// is committed the rows of the next go in, in a transaction that is committed after
// it or undone with it, the one after is prepared, and the messages of the one before
// leave: at most four are in memory, and a source reads one file at a time.
//
// A broken row, one without a key and one that the ledger's tables refuse is a
// rejected record whose reasons name the line; it does not stop the file. What
// the integration would refuse if it came by HTTP is rejected too: nobody waits
// for an answer who could be told.
//
// # Snapshots, and rows that did not change
//
// With `mode: snapshot` or `unchanged: skip` a row that equals the latest accepted
// version of its entity, from whichever source that came, becomes no record. Such
// a source's files are read one at a time over all replicas, none overtakes one
// that could not be taken yet or is not whole (which a person is told after
// maxHeldUp), and the same bytes that come again after another file count again:
// A, B, A is three records.
//
// After the last row of a snapshot each entity that it does not have becomes a
// record whose header op is delete (integration.DeleteBody). More than max_deletes,
// or any beside rows of which nobody can tell what they are about, fail the file
// with all its deletions, until a person agrees (`waybill file pull --allow-deletes`),
// which is possible until a newer file is read.
//
// # Ending
//
// A file that is read to its end is closed in the ledger, copied to the archive if
// there is one, and then moved to done/, deleted, or left and remembered, its
// marker with it, unless that is another one by now. One that cannot be read as the
// integration describes it, or that changes while it is read, is closed as failed
// with the reason, a person is told, and it is moved to failed/, also if others are
// deleted; rows that were accepted stay. So is one that is written to after it had
// been read. Dropped again, it is gone on with after them: what was wrong may have
// been the integration. One that is left where it lies is tried again when it
// changes, or when a person asks. Nothing is ever written over: a taken name gets a
// number. A crash between closing and moving is found at the next look, when the
// file is recognised.
//
// Its report is due from the transaction that closes it, and is tried until it is
// delivered, with one alert.
//
// What is not the file's fault (the ledger does not answer, the session has
// lapsed, a read error) leaves the file where it is, to be gone on with.
package file
