// Package file takes files that partners leave in a watched directory, one
// record a row.
//
//	sources, err := file.New(file.Config{...})   // one for each file source of the catalog
//	for _, s := range sources { ... s.Run(ctx) } // each on a goroutine of its own, until ctx ends
//
// # Looking
//
// A source looks into its directory when it starts and then on its cron
// schedule, by the ledger's clock. A relative directory lies below Config.Root
// and is made if it is missing; an absolute one that is missing is a problem
// that a person is told of, and is looked for again.
//
// Regular files whose name matches are taken, in the order of their names.
// Hidden names and names that end in .tmp or .part are not looked at; symbolic
// links, pipes and devices are never opened. A file is complete when two looks
// at least a second apart found the same size and time of change, or when it
// was renamed from one of the names that are not looked at. Until then the
// source looks again every second, at most maxFollowUps times, and then as
// scheduled.
//
// # Reading
//
// The SHA-256 of its bytes is the file's identity: under another name, or on
// another day, it is recognised, moved away and gives nothing new. A file is
// read by one session. Rows are accepted in chunks of at most chunkRows rows or
// chunkBytes bytes, and the place where the next chunk begins is kept in the
// same transaction; whoever goes on after a crash begins exactly there. At most
// one chunk is in memory, and a source reads one file at a time.
//
// A broken row, one without a key and one that the ledger's tables refuse is a
// rejected record whose reasons name the line; it does not stop the file. What
// the integration would refuse if it came by HTTP is rejected too: nobody waits
// for an answer who could be told.
//
// # Ending
//
// A file that is read to its end is closed in the ledger and then moved to
// done/. One that cannot be read as the integration describes it, or that
// changes while it is read, is closed as failed with the reason, a person is
// told, and it is moved to failed/; rows that were accepted stay. Dropped again,
// it is gone on with after them: what was wrong may have been the integration. Nothing is
// ever written over: a taken name gets a number. A crash between closing and
// moving is found at the next look, when the file is recognised.
//
// What is not the file's fault (the ledger does not answer, the session has
// lapsed, a read error) leaves the file where it is, to be gone on with.
package file
