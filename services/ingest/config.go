package ingest

import (
	"waybill.internal/pkg/backbone"
	"waybill.internal/pkg/daemon"
)

// Config of ingest.
type Config struct {
	backbone.Config
	Address     string
	Connections int
	// Drop is the folder that relative directories of file sources lie in.
	Drop string
	// MemoryLimit is the Go runtime's soft limit, in bytes.
	MemoryLimit int64
}

func load(s *daemon.Settings) (Config, error) {
	c := Config{
		Config:      backbone.Load(s),
		Address:     s.Address("WAYBILL_INGEST_ADDRESS", "127.0.0.1:8080", "where partners post events and read receipts"),
		Connections: s.Int("WAYBILL_INGEST_CONNECTIONS", 10_000, 1, 1_000_000, "connections open at once; more wait to be taken"),
		Drop:        s.String("WAYBILL_INGEST_DROP", ".", "the folder that the relative directories of file sources lie in"),
		MemoryLimit: s.Bytes("WAYBILL_INGEST_MEMORY", 192<<20, 64<<20, 1<<40, "soft limit of the process' memory"),
	}
	return c, s.Err()
}
