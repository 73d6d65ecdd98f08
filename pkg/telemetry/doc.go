// Package telemetry is how a process tells what it does: logs, metrics, alerts.
//
//   - NewLogger gives a zap logger that writes JSON and takes secrets out by
//     field name, by type (Secret) and by shape (passwords in URLs, bearer tokens).
//   - NewRegistry gives the metrics; names.go lists every metric and log field once.
//   - NewAlerts sends problems to Sentry: one event per problem, never one per
//     record. A problem is kind, integration, class, code and where; its first
//     occurrence is sent at once, further ones are counted and sent at most every
//     10 minutes, and what is still counted is sent on Close. At most 100
//     problems are kept apart; what exceeds that is one more problem.
//
// Alerts carry what code says about a failure and at most five record ids. They
// never carry payloads, headers or requests; a last filter before sending keeps
// only the allowed parts of an event.
package telemetry
