// Package watch notices what nobody sends an error about: a source that fell
// silent, a secret that was changed on one side only, a partner that changed its
// format. It also lets people pause sources.
//
//	w := watch.New(watch.Config{...})
//	w.Count, w.Seen, w.Unproven, w.Heard            // sources tell what they see: in memory, no waiting
//	part.Run = w.Pausable("orders", "file", f.Run)  // runs only while the source is not paused
//	w.Paused("orders", "webhook")                   // for those that cannot be stopped
//	go w.Run(ctx)                                   // notes, judges, until ctx ends
//
// # Where the state is
//
// What was seen goes to the ledger every Flush, in one statement for all sources,
// never per record. All ingests add to the same rows and minutes, and one of them at
// a time judges a source, so that of several replicas one alerts, and what was told
// is known after a restart. While the ledger does not answer, what was seen is kept
// in memory (counts and at most MaxNames names a source), and pauses stay as they
// were seen last.
//
// # Silence
//
// `expect: 24h`: nothing came for so long. `expect: "0 6 * * *"`, in the source's
// time zone (UTC where it has none): after a run of the schedule nothing came within
// the grace, which is Grace or half the time to the next run if that is less. A
// source that never spoke counts from its registration, one that was paused from its
// resumption. There is one alert per silence, and a note when it ends.
//
// Something came when the partner said something: a record, also a rejected one, a
// duplicate, a webhook that proves who sent it, a file, be it empty. A poll that
// found nothing new is no sign of life, since `expect` is about records; that a poll
// cannot be made is told by the poll. A refused stranger is no sign of life either.
//
// # Secrets
//
// MaxUnproven requests within Burst whose signature or key is there and fits no
// secret, and none that fits since: one alert, until one fits again. Requests
// without a signature are strangers' and do not count.
//
// # Drift
//
// DriftShare of at least DriftArrivals arrivals within Recent fail base validation,
// where less than UsualShare did before: one alert, until it is less than EndShare.
// It names the fields that are new, missing or of another type. Of the bodies only
// names and JSON types are kept, two levels deep; what does not look like a name
// (because the keys of an object are data) is kept as *.
package watch
