// Package acknowledger is the binary that closes the loop: it tells each partner
// how its records ended, and tells it again until the partner has confirmed.
//
// What arrives: due outcomes on the topic `result`, one message each.
//
// What is promised: an outcome is acknowledged only when the partner's answer
// confirms this record and this outcome number. It is told at least once, in
// signed batches whose id stays the same when they are told again. What is not
// confirmed waits in the ledger and is told again with growing pauses; after
// acknowledge.post.retry.give_up_after it is given up on with one alert per
// integration and the command that brings it back.
//
// What leaves: requests to the partners' status APIs; settlements in the ledger.
//
// On a crash: an offset moves when the claim of its message is committed. What
// was claimed and not settled is held by the session of the dead process; once
// that has lapsed, at most 8 s later, or was closed by a clean stop, the
// re-driver of the processor puts the outcomes back on the topic. The re-driver
// also puts out what is due to be told again: without a processor running,
// nothing is resent.
//
// One partner that is slow, or takes nothing, holds up only its own outcomes: see
// package notify for the bounds.
package acknowledger
