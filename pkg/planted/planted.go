//go:build !planted

package planted

// What is false here is removed by the compiler, and its branch with it.
const (
	AcksNone             = false // a message counts as written although no replica has acknowledged it
	AnswerBeforeCommit   = false // a sender is told "accepted" before the record's row is committed
	OffsetFirst          = false // the offsets of a batch are done before its records are claimed
	HighestOffset        = false // a whole batch is done although there was room for its head only
	FenceDropped         = false // claim and settlement do not look at the record's fence
	NewKeyPerRetry       = false // each attempt calls with another Idempotency-Key
	DuplicateNotRedriven = false // the duplicate of a stranded record is only answered
	RedirectConfirms     = false // the body of a 3xx is looked through for confirmations
	FileFromRowZero      = false // a file that is gone on with is read from its start, under new keys
	StepApart            = false // a record's state and its upserts are two transactions
	ContentAsKey         = false // the idempotency key is the content's hash
	CommitAsync          = false // commits do not wait for the disk
	OutboxApart          = false // what is accepted has no outbox row, its message is in memory only
	RetryEarly           = false // the third party's Retry-After is not honoured
)

// Allowed reports why a process built so must not run: never, in this build.
func Allowed(_ string) error { return nil }
