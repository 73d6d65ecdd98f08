// Package confirm judges the partner's answer, outcome by outcome, and settles
// what it means in the ledger.
//
// An outcome is acknowledged only by an answer of 200 to 299 whose body, by the
// integration's own expression, names this record and this outcome number.
// Everything else is unconfirmed: a redirect, an error, a timeout, a welcome
// page, an answer about another number. What is unconfirmed is sent again after
// a wait that the integration's policy decides, or given up on by it; both are
// one transition in the ledger, and a person is alerted of the second.
package confirm
