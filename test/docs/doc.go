// Package docs holds the written documents against the repository: every relative
// link and anchor leads somewhere, every `make` target, command of `waybill`, flag,
// variable and file that they name exists, every kind of alert has its page in the
// runbook, and docs/configuration.md is what the binaries' --help and the schema of
// integration files say. Each rule is a function over text, and is shown to fail on
// a planted mistake.
//
//	go test ./docs -update   # in test: writes docs/configuration.md again
package docs
