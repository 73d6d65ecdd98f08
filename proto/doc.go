// Package proto holds the contracts that leave a process: the messages on
// Waybill's Kafka topics, in versioned folders (waybill/v1).
//
// A version only grows. A field's number and type never change and are never
// used again, because a topic still holds what an older binary wrote. The files
// in testdata are messages written by the first version, byte for byte; the
// test of this package reads each and compares it field by field, and fails
// when a change would make an old message mean something else.
//
// generate.sh regenerates the Go code.
package proto
