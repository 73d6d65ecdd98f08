// Package processor works accepted records: it claims them, runs the steps of
// their integration, and settles them. The re-driver lives here too, in every
// replica.
//
//	in:       messages on <prefix>.<lane>.{work, retry.*, retry, replay}
//	promised: a finished step is never run again; each call of a record carries
//	          its own stable Idempotency-Key; a table of the ledger's database
//	          sees a record's effect once; a failing record delays no other
//	out:      the record's state, its row in the integration's table, and a
//	          message on result, on a retry topic or on dead-letter
//	crash:    the lease of what was claimed lapses after 8 s and the re-driver
//	          gives it to somebody else; a worker that wakes up later finds its
//	          fence gone and writes nothing
//
// To build a processor with steps of your own, give Spec Go functions:
//
//	func main() { daemon.Main(processor.Spec(processor.WithStep("score", score))) }
package processor
