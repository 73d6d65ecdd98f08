// Command processor works accepted records.
package main

import (
	"waybill.internal/pkg/daemon"
	"waybill.internal/services/processor"
)

func main() { daemon.Main(processor.Spec()) }
