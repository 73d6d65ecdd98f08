// Package boundary is the repository's hygiene as tests: which way imports point,
// that what is shared is shared, who may speak SQL, Kafka and Sentry, that only
// the state machine's statements assign a state, that samples load, and that
// every module builds on its own. Each rule is a function over parsed files; each
// is shown to fail on a planted breach.
package boundary
