// Command ingest takes webhooks and files, and gives receipts.
package main

import (
	"waybill.internal/pkg/daemon"
	"waybill.internal/services/ingest"
)

func main() { daemon.Main(ingest.Spec()) }
