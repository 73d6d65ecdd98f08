package outbox

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

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

const (
	// maxDetailBytes bounds the detail in an outcome's message; whoever needs more of
	// it reads it from the ledger.
	maxDetailBytes = 64 << 10
	// maxHeaders and maxHeaderBytes (names and values of one record) bound what travels
	// in a message; a record with more of them goes by reference. A message stays far
	// below stream.MaxMessageBytes so.
	maxHeaders     = 100
	maxHeaderBytes = 64 << 10
)

// encode makes one message per record, and says how many bytes they hold. A record
// that cannot be encoded is left out and told to broken.
func encode(b ledger.Batch, source func(ledger.Item) Source, broken func(record.ID, error)) ([]stream.Message, int) {
	messages := make([]stream.Message, 0, len(b.Items))
	size := 0
	for _, item := range b.Items {
		m, err := encodeItem(b, item, source)
		if err != nil {
			broken(item.Record.ID, err)
			continue
		}
		size += len(m.Key) + len(m.Value) + perMessageBytes
		messages = append(messages, m)
	}
	return messages, size
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
	headers, fit := cleanHeaders(p.Headers)
	if !fit { // whole from the ledger rather than in part from here
		p.Body, headers = nil, nil
	}
	return stream.Record{
		ID: r.ID, Fence: r.Fence, Seq: r.Seq, Day: r.Day, Integration: r.Integration, Source: r.Source,
		IdempotencyKey: r.Key, EntityKey: r.EntityKey, Version: r.Version, Attempt: int32(r.Attempt), AcceptedAt: r.AcceptedAt,
		Body: p.Body, ByReference: len(p.Body) == 0, ContentType: clean(p.ContentType), TrackingID: p.TrackingID,
		DueAt: item.Due, Revision: r.Revision, Headers: headers,
	}
}

// cleanHeaders are the headers as UTF-8, which the envelope demands; fit is false
// when they are too many or too large to travel.
func cleanHeaders(headers map[string]string) (cleaned map[string]string, fit bool) {
	if len(headers) > maxHeaders {
		return nil, false
	}
	size, valid := 0, true
	for name, value := range headers {
		size += len(name) + len(value)
		valid = valid && utf8.ValidString(name) && utf8.ValidString(value)
	}
	if valid { // as nearly all are: they are only read
		return headers, size <= maxHeaderBytes
	}
	size = 0
	cleaned = make(map[string]string, len(headers))
	for name, value := range headers {
		name, value = clean(name), clean(value)
		cleaned[name] = value
		size += len(name) + len(value)
	}
	return cleaned, size <= maxHeaderBytes
}

func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func outcome(r record.Record) stream.Outcome {
	detail := r.Failure.Detail
	if len(detail) > maxDetailBytes || !json.Valid(detail) {
		detail = nil
	}
	return stream.Outcome{
		ID: r.ID, Fence: r.Fence, Seq: r.Seq, Day: r.Day, Integration: r.Integration, IdempotencyKey: r.Key, EntityKey: r.EntityKey,
		Number: int32(r.Outcome.Number), State: string(r.State), Class: string(r.Failure.Class), Code: clean(r.Failure.Code), Detail: detail,
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
