// The acknowledger tells partners how their records ended; see --help.
package main

import (
	"waybill.internal/pkg/daemon"
	"waybill.internal/services/acknowledger"
)

func main() { daemon.Main(acknowledger.Spec()) }
