// Package command holds the tests of the command waybill as it is typed: the
// binary, on a real ledger.
package command
