// Package world gives a test a whole installation of its own: a migrated ledger on
// a real Postgres, an embedded Kafka, a folder of integration files, and services
// that run in the test's process.
//
//	func TestMain(m *testing.M) { world.Main(m) }
//
//	func TestArrival(t *testing.T) {
//		t.Parallel()
//		w := world.New(t)
//		w.Integration("orders", orders) // orders.yaml
//		w.Settings["PARTNER_TOKEN"] = "a-token"
//		in := world.Start(w, ingest.Spec())
//		post(in.URL() + "/in/orders")
//		w.Await("the record", func() bool { return world.One[int](w, `SELECT count(*) FROM record`) == 1 })
//		in.Stop()
//	}
//
// A package of tests embeds [World] in a type of its own, with what only its tests
// need: a partner, a client, a check. [Start], [One] and [All] take such a type too.
//
// What runs: [Start] runs a service in the process, and does not wait; its
// [Service.AwaitReady] does. [World.Process] runs a service's binary, to be killed;
// [World.Says] runs the command `waybill` as an operator does, and [World.Command]
// with [Run] does for a test that wants the bare output. All have the settings as
// their environment, as these are when they start, and nothing else.
// Whatever still runs when the test ends is stopped, and an error at its stop fails
// the test.
//
// What is told: services and processes write to the one [World.Logs], which tests
// search, and whose end is printed when the test fails.
//
// How long: each wait ends after [Patience] and fails the test. Only a test that
// fails waits so long.
package world
