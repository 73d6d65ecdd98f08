// Command benchfiles measures files on their way into the ledger: the real ingest
// binary takes a generated file out of a watched directory, and the time until the
// last row is committed is set beside three yardsticks over the same rows: the plain
// reader of that format (what Go's library reads, nothing kept), COPY alone into a
// plain table, and COPY of the rows that the ledger made of it into tables like the
// ledger's. It starts a durable Postgres and an Apache Kafka of its own.
//
//	go run ./test/benchfiles                          # 1 GiB of CSV, XML and NDJSON, 100 MiB of XLSX
//	go run ./test/benchfiles -size 64MiB -formats csv # a quick look
//
// Each format gets a schema, a process and topics of its own. Memory is VmHWM, the
// most that a process held. The last line of output is one JSON object.
// docs/benchmarks.md says how to read it. It needs Linux: memory and CPU times are
// read from /proc.
package main
