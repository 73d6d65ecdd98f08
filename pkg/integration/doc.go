// Package integration reads the file of an integration and runs its rules.
//
// One YAML file describes one flow with one partner: sources, record,
// destinations, process and acknowledge. Load reads it with every mistake told
// at once, each as
//
//	file:line:column: path: what is wrong; what to do
//
// with the line and a caret beneath. The keys, their defaults and bounds are the
// tags of the types here; ConfigSchema gives them to editors as JSON Schema.
//
// # Secrets and variables
//
// A secret is a reference, ${NAME}, and is looked up each time it is used (the variable
// NAME, or the file named by NAME_FILE): it never reaches the document, a log or
// an error. An address (destinations.*.url, acknowledge.post.to, a file source's from)
// may use ${NAME} and ${NAME:-default}; these are replaced at load and are not secret.
//
// # Versions
//
// Document is the whole integration as canonical JSON, Hash its version. FromDocument
// gives the same integration back: a record pinned to a version is processed as
// that version said, whatever the file says now.
//
// # Expressions
//
// See package expression for the language. The names in scope:
//
//	idempotency_key, entity_key      body headers record{integration source}
//	check                            body, and the fields of the body by name
//	lookup.key, call, map            body headers record{id idempotency_key entity_key
//	                                 integration source accepted_at} steps mapped
//	call.accept, reject.when, keep   those, and response{status headers body}
//	acknowledge.post.confirmed       response, item{id outcome status}
//
// body is the payload as DecodeJSON gives it; of a file's row, an object of texts.
// headers has lower-case names: headers['x-kind']. steps.<name> is the result of
// an earlier lookup (the value taken), call (what keep kept) or custom step. A
// field that is not there reads as nil. A bare word is a name: a constant text
// is written 'in quotes'. In a map step a value may also be a map or a list of
// expressions, as in the body of a call.
//
// # Judging records
//
// Validate gives every problem of a body at once; Keys gives the keys of an arrival;
// Map.Eval, LookupStep.Values, Call.Request, Call.Judge, Upsert.Row and
// Acknowledge.Confirmed are the pure parts of the steps. Problems and errors with
// CodeExpression mean that an expression failed on data that passed validation: the
// integration is wrong (class bug), not the record.
package integration
