// Package daemon is the life of a process: settings, logger, metrics, alerts,
// admin listener, signals, start order, drain, exit code.
//
// A binary is a value:
//
//	func Spec() daemon.Spec[Config] {
//		return daemon.Spec[Config]{Name: "ingest", Summary: "...", Load: load, Build: build, AdminAddress: "127.0.0.1:9080"}
//	}
//	func main() { daemon.Main(ingest.Spec()) }
//
// Tests and `waybill up` start the same value in-process with Start, with
// addresses on port 0, and read the bound ones from Process.Address.
//
// # Settings
//
// Load reads every variable from Settings, always all of them, whatever their
// values: --help runs it too, to list them. Each variable NAME may also be given
// as a file in NAME_FILE. All mistakes are reported at once, each with the
// variable, the problem and the fix.
//
// # Parts
//
// Build returns the parts. They start in slice order and stop in reverse. The
// first part that returns stops all others. A part that does not stop within its
// deadline is named in the log and makes the exit code non-zero; the rest is
// stopped nevertheless. A second signal ends the process at once.
//
// # Exit codes
//
//	0    stopped as asked
//	1    a part, or Build, failed
//	2    the settings are wrong
//	3    a part did not stop in time
//	130  a second signal came
//
// # The admin listener
//
// /healthz (the process lives), /readyz (every part is ready; else 503 with the
// names of those that are not, and why), /metrics, and /debug/pprof, which is
// there only on loopback unless WAYBILL_ADMIN_PPROF is true.
package daemon
