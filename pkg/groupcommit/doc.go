// Package groupcommit lets many callers share one commit.
//
// Callers hand in single items; a worker gathers what is waiting and commits it
// as one batch; each caller gets its own result once the batch that holds its
// item is committed:
//
//	g, err := groupcommit.New(groupcommit.Config[Row, ID]{Commit: insertRows, ...})
//	id, err := g.Do(ctx, row) // durable when err is nil
//
// # When a batch starts
//
// The next flush starts when the last has ended, with a least interval between
// the starts of two flushes. The interval follows the measured rate of arrivals:
// none up to LowRate items a second, so that a lone record is committed at once,
// rising to Config.Interval (5 ms) at HighRate, where waiting a little makes
// fewer, larger commits and costs less of everything. A batch that is full does
// not wait. Config.LowInterval replaces the none: where no sender waits for an
// item, what a low rate costs most is that every item wakes everything. Where items
// come several at a time, Config.Linger has a worker that finds the first wait for the others.
//
// # Bounds
//
// The queue is bounded in items and bytes, a batch is bounded in items and
// bytes, a commit is bounded in time. A full queue answers ErrFull at once; it
// never blocks.
//
// # What an error means
//
//	nil          committed
//	ErrFull, ErrTooLarge, ErrClosed
//	             not committed, and never will be
//	ctx's error  unknown, unless errors.Is(err, ErrNotStarted): then the item was
//	             still waiting, has been taken out, and will not be committed
//	any other    what Commit answered for the batch. Whether such a batch was
//	             committed is Commit's to say; a timeout leaves it unknown
//
// # One bad item
//
// If Commit fails with an error that says Split() bool true (found with
// errors.As), one item of the batch is to blame. The batch is then committed in
// halves, and halves of halves, until the item stands alone; only it gets the
// error. A batch of n items takes at most 2n-1 commits. Commit must not have
// committed anything of a batch for which it returns an error to split.
package groupcommit
