package outbox

import (
	"fmt"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
)

// Source is what a record's message is made of beside the record itself.
type Source struct {
	Payload ledger.Payload
	// Origin is the message that the record was last claimed from; its Topic is
	// empty when it came from nowhere but the ledger.
	Origin stream.Message
}

// encode makes one message per record, and says how many bytes they hold.
func encode(b ledger.Batch, source func(ledger.Item) Source) ([]stream.Message, int, error) {
	messages := make([]stream.Message, 0, len(b.Items))
	size := 0
	for _, item := range b.Items {
		m, err := encodeItem(b, item, source)
		if err != nil {
			return nil, 0, fmt.Errorf("record %s: %w", item.Record.ID, err)
		}
		size += len(m.Key) + len(m.Value) + perMessageBytes
		messages = append(messages, m)
	}
	return messages, size, nil
}

// perMessageBytes is what a message weighs beside its key and value, about.
const perMessageBytes = 200

func encodeItem(b ledger.Batch, item ledger.Item, source func(ledger.Item) Source) (stream.Message, error) {
	switch b.Topic {
	case string(record.TopicResult):
		return stream.EncodeOutcome(outcome(item.Record))
	case string(record.TopicDeadLetter):
		return deadLetter(item.Record, source(item)), nil
	default:
		return stream.EncodeRecord(envelope(item, source(item).Payload))
	}
}

func envelope(item ledger.Item, p ledger.Payload) stream.Record {
	r := item.Record
	return stream.Record{
		ID: r.ID, Fence: r.Fence, Seq: r.Seq, Day: r.Day, Integration: r.Integration, Source: r.Source,
		IdempotencyKey: r.Key, EntityKey: r.EntityKey, Version: r.Version, Attempt: int32(r.Attempt), AcceptedAt: r.AcceptedAt,
		Body: p.Body, ByReference: len(p.Body) == 0, ContentType: p.ContentType, TrackingID: p.TrackingID,
		DueAt: item.Due, Revision: r.Revision, Headers: p.Headers,
	}
}

func outcome(r record.Record) stream.Outcome {
	return stream.Outcome{
		ID: r.ID, Fence: r.Fence, Seq: r.Seq, Day: r.Day, Integration: r.Integration, IdempotencyKey: r.Key, EntityKey: r.EntityKey,
		Number: int32(r.Outcome.Number), State: string(r.State), Class: string(r.Failure.Class), Code: r.Failure.Code, Detail: r.Failure.Detail,
		AcceptedAt: r.AcceptedAt, FinalAt: r.MovedAt,
	}
}

// deadLetter carries the original bytes and headers; the ledger decides what is still dead.
func deadLetter(r record.Record, s Source) stream.Message {
	original := stream.Message{Key: []byte(r.EntityKey), Value: s.Payload.Body}
	for name, value := range s.Payload.Headers {
		original.Headers = append(original.Headers, stream.Header{Key: name, Value: []byte(value)})
	}
	return stream.DeadLetterMessage(original, stream.DeadLetter{
		Record: r.ID, Integration: r.Integration, Attempts: int32(r.Attempt), Class: string(r.Failure.Class), Code: r.Failure.Code,
		Message: r.Failure.Message, Group: "processor", AcceptedAt: r.AcceptedAt, DiedAt: r.MovedAt, Origin: s.Origin,
	})
}
