// Package notify tells partners how their records ended: it takes due outcomes
// from the topic, claims them, gathers them per integration into requests, signs
// and posts these, and hands the answers to package confirm.
//
// # Bounds, and who waits for whom
//
// Outcomes held in memory have a fixed number of places (Config.InFlight, a place
// is 4 KiB of an outcome's problems or less). The places are divided evenly over
// the integrations that acknowledge, none having more than half: what one partner
// does to its share touches nobody else's.
//
// An integration whose share is taken is waited for, before the claim, for at
// most Patience: a partner that takes statuses at all, however slowly, sets the
// pace. One that frees nothing for so long is stuck. Its outcomes are then not
// left at the head of the partition, where they would hold up everybody: they
// are claimed and settled at once as unconfirmed (code partner_busy), which
// parks them in the ledger until their resend is due. That lasts until the
// integration has room again.
//
// Each integration has one goroutine that gathers and at most post.concurrency
// that post. All end with Run.
//
// # What is safe to lose
//
// An offset is done when the claim of its message is. From then on the lease
// holds the outcome: whatever ends this process, its session ends too, and the
// re-driver puts what it held back on the topic. A partner may therefore be told
// twice, never not at all; the webhook-id of a batch told again is the same.
package notify
