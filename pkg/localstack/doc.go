// Package localstack starts Postgres and Kafka on this machine, for `waybill up`
// and for tests.
//
// # What it offers
//
//   - [StartPostgres]: a real Postgres from the machine's own binaries, or from
//     binaries fetched once (embedded-postgres).
//   - [StartKafka]: a real Apache Kafka ([KafkaVersion], KRaft, one broker) on
//     the machine's Java; its jars are fetched once with Maven ([FetchKafka]).
//   - [StartEmbeddedKafka]: a Kafka broker inside this process (kfake). It is a
//     test broker: good for `waybill up` and for unit tests, never for
//     production. The ledger re-drives whatever it loses.
//   - [Resolve]: addresses for `waybill up`, in this order: from the environment
//     (WAYBILL_POSTGRES_URL, WAYBILL_KAFKA_BROKERS), from Docker if `docker info`
//     answers, else native Postgres and the embedded Kafka.
//
// Package stacktest puts these behind one call for a test, and the command
// `stack run -- command` gives one Postgres and one Kafka to a whole test run.
//
// # Faults
//
// A [Postgres] or [Kafka] can be killed, restarted on the same port and data,
// paused (SIGSTOP, children included) and resumed; Kafka can be wiped. These
// are what kill and replay tests are made of.
//
// # Ownership
//
// Every server listens on 127.0.0.1 only. It belongs to the process that started
// it: on Linux it is told to end by the kernel when that process dies, however it
// dies. On other systems only Stop ends it. Postgres refuses to run as root:
// started by root it runs as `postgres` or `nobody`, so every folder above its
// directory must be open to that user; if one is not, the error names it.
//
// A server without a directory of its own gets a temporary one, deleted by Stop.
// What a killed process left behind is swept by a later start.
//
// Ports are taken from 20000–31999, below the range from which systems draw the
// ports of outgoing connections: a client that keeps dialling a stopped server
// on a port of that range can end up connected to itself. A port stays reserved,
// against other processes using this package, while its server is down.
//
// # Cache
//
// Fetched files lie in the folder named by WAYBILL_CACHE, else in `waybill` under
// [os.UserCacheDir]. A file lock lets parallel processes fetch once.
package localstack
