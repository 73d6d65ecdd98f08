package ingest

import (
	"context"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/stream"
	"waybill.internal/services/ingest/internal/file"
	"waybill.internal/services/ingest/internal/poll"
	"waybill.internal/services/ingest/internal/topic"
)

// What a source would take, found without taking it: `waybill source test`.
type (
	FileTrial    = file.Trial
	FileTryWhere = file.TryOptions
	PollTrial    = poll.Trial
)

// TryFile looks where a file source looks, and reads the first rows of the first file.
func TryFile(ctx context.Context, e catalog.Entry, s *integration.Source, o FileTryWhere) (FileTrial, error) {
	return file.Try(ctx, e, s, o)
}

// TryPoll makes the first request of a poll and shows its first items.
func TryPoll(ctx context.Context, l *ledger.Ledger, e catalog.Entry, s *integration.Source, items int) (PollTrial, error) {
	return poll.Try(ctx, l, e, s, items)
}

// TryTopic connects to a source's topic and tells how far its group is behind.
func TryTopic(ctx context.Context, own *stream.Factory, s *integration.Source) (lag int64, err error) {
	return topic.Lag(ctx, own, s.Kafka)
}
