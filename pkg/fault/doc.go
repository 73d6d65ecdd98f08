// Package fault gives every failure its class, once, at the adapter that saw it.
//
// The class decides what happens to the record; nobody downstream looks at
// error texts, status codes or driver types again.
//
//	class        what happens                                            costs the record an attempt
//	data         rejected, no retry, the status says why                 final
//	duplicate    rejected as duplicate, or processed (see OwnDuplicate)  final
//	system       retrying, Retry-After honoured                          yes
//	outage       parked until the destination works again                no
//	slow         parked until the destination is fast again              no
//	credentials  destination paused, records parked, alert at once       no
//	bug          worked alone once more, then dead, stack in Sentry      yes
//
// # Use
//
// An adapter that knows what went wrong returns an *Error:
//
//	return fault.New(fault.Data, "unknown_product", "product %s has no platform key", key)
//	return fault.Wrap(err, fault.System, "upsert_failed", "upsert record %s", id)
//
// A caller that must decide asks Of, which never returns nil for a non-nil
// error:
//
//	switch f := fault.Of(err); f.Class { ... }
//
// Of finds an *Error anywhere in the chain, asks errors that classify
// themselves (method Fault() *Error), and knows contexts, the network, TLS and
// Postgres. What it does not know is system: a retry costs time and ends, after
// the attempts are used up, in a dead letter that a person sees, while calling
// an unknown failure data would tell the partner that the record is wrong, and
// calling it a bug would take the record out of work for what may be a hiccup.
// Only what is proof of a programming error (a panic, a runtime error, SQL that
// Postgres cannot parse) is a bug.
//
// FromHTTP classifies the answer of a third party.
package fault
