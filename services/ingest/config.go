package ingest

import (
	"net/netip"

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
	// Spool is the folder that holds copies of remote files while they are read; empty: below the system's temporary folder.
	Spool string
	// Proxies are the networks whose word about their clients' addresses is taken.
	Proxies []netip.Prefix
	// MemoryLimit is the Go runtime's soft limit, in bytes.
	MemoryLimit int64
}

func load(s *daemon.Settings) (Config, error) {
	c := Config{
		Config:      backbone.Load(s),
		Address:     s.Address("WAYBILL_INGEST_ADDRESS", "127.0.0.1:8080", "where partners post events and read receipts"),
		Connections: s.Int("WAYBILL_INGEST_CONNECTIONS", 10_000, 1, 1_000_000, "connections open at once; more wait to be taken"),
		Drop:        s.String("WAYBILL_INGEST_DROP", ".", "the folder that the relative directories of file sources lie in"),
		Spool:       s.String("WAYBILL_INGEST_SPOOL", "", "the folder that holds copies of remote files while they are read, as large as the largest of each source; empty: waybill-ingest in the system's temporary folder"),
		MemoryLimit: s.Bytes("WAYBILL_INGEST_MEMORY", 192<<20, 64<<20, 1<<40, "soft limit of the process' memory"),
	}
	c.Proxies = proxies(s)
	return c, s.Err()
}

func proxies(s *daemon.Settings) []netip.Prefix {
	const name = "WAYBILL_INGEST_TRUSTED_PROXIES"
	var list []netip.Prefix
	for _, text := range s.List(name, nil, "addresses or networks of proxies in front, such as 10.0.0.0/8, whose X-Forwarded-For and X-Forwarded-Proto are believed") {
		network, err := netip.ParsePrefix(text)
		if address, single := netip.ParseAddr(text); single == nil {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			s.Problem(name, "one value is neither an address nor a network", "write addresses such as 10.0.0.1 or networks such as 10.0.0.0/8, separated by commas")
			return nil
		}
		list = append(list, network)
	}
	return list
}
