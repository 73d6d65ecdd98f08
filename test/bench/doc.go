// Command bench measures Waybill as its users run it: the three binaries as
// processes of their own on a Postgres and an Apache Kafka that it starts for
// itself, over the whole path of a record. docs/benchmarks.md says how to read
// and repeat it.
//
// Everything is CPU per record by the kernel's accounting, and ratios within
// one run: times on a shared machine mean little. Each figure is the minimum,
// the median and the maximum over repetitions. With -compare (other binaries)
// or -compare-env (other settings) a second variant is measured in turn with
// the first, and ratios are printed.
//
// Its last line of output is one JSON object. It needs Linux: CPU times are
// read from /proc.
package main
