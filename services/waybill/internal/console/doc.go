// Package console writes for people at a terminal: tables, numbers and
// durations that can be read at a glance, and one line of live progress.
package console
