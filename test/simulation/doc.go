// Package simulation runs the pure core of Waybill in a made-up world: one
// goroutine, a virtual clock, and one seed that decides everything.
//
// What is real: record.Step, which takes every decision about a record, and
// retry.Policy. What is a model, by the rules of pkg/ledger and of the
// services: the ledger (rows, outbox, waiting, sessions; its transactions
// commit, fail, or commit and report an error), Kafka (partitions, offsets,
// delays; it duplicates, loses, is wiped, forgets its head, and its groups are
// rewound), the processes (which crash, stop in order, are stopped and resumed
// past their lease), the re-driver, third parties that honour an
// Idempotency-Key (slow, dead for a time, 5xx, did it and said it failed,
// refusing or choking on some records), the partner (refuses, keeps silent,
// confirms old numbers, confirms late) and people.
//
// A run has a time of faults; then everything is mended, people requeue what
// is dead, and the world comes to rest. Package judge, which shares no code
// with pkg/record, watches every transaction and every call, and looks at the
// end whether every record is final and its partner told.
//
// The same seed gives the same events, hence the same hash. A Mutation breaks
// one rule of the model on purpose; a test shows that the judge notices.
package simulation
