// Command stack gives a test run its servers.
//
//	stack run [--kafka=false] -- command args...
//	stack fetch
//
// `run` starts one Postgres (durable, 400 connections) and one Apache Kafka,
// exports their addresses as WAYBILL_TEST_POSTGRES_URL and WAYBILL_TEST_KAFKA, runs
// the command and leaves with its exit status. A variable that is set already is
// passed on and its server not started. Both servers are stopped however the
// command ends, also on SIGINT and SIGTERM, which the command is told first.
//
// `fetch` fills the cache with what the servers need and the machine lacks.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stderr)
	stop()
	os.Exit(status)
}
