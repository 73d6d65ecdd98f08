// Package retry decides when a failed record is tried again. It is pure: no
// clock, no randomness, no I/O.
//
// A record that failed waits in one of two places:
//
//   - on a retry topic, one per configured delay (5 s, 30 s, 5 min). The delay
//     of a topic is exact and has no jitter, so that the head of the topic is
//     always the next due and nothing waits behind it;
//   - in the ledger, for what is longer: 15 min, 30 min, 1 h, then every 2 h,
//     with a jitter of 0 to 20 % on top.
//
// A Retry-After of the third party is a lower bound that is never undercut: it
// moves the record to the first topic whose delay is at least as long, or,
// beyond the longest topic, into the ledger.
//
// Attempts and age are bounded: the Decision says GiveUp once either is used
// up. The last wait is not cut to fit: a record younger than GiveUpAfter is
// always tried once more, even if that try is due after it.
package retry
