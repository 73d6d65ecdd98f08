package ingest

import (
	"context"

	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/remote"
)

// RemoteStore is a place where a partner leaves files, RemoteOptions how it is
// reached; see package remote.
type (
	RemoteStore   = remote.Store
	RemoteOptions = remote.Options
	RemoteEntry   = remote.Entry
)

// OpenRemote opens the place of a file source as ingest does, to look whether it
// can be reached and what is there.
func OpenRemote(ctx context.Context, f *integration.File, o RemoteOptions) (RemoteStore, error) {
	return remote.Open(ctx, f, o)
}
