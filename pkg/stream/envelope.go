package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	waybillv1 "waybill.internal/proto/waybill/v1"
)

// Names of headers that Waybill sets on its messages, for other tools: the envelope
// itself is what Waybill reads.
const (
	HeaderRecord      = "waybill-record"      // the record's id, as people write it
	HeaderIntegration = "waybill-integration" //
	HeaderAttempt     = "waybill-attempt"     // attempts made before
	HeaderTraceParent = "traceparent"         // W3C trace context
	HeaderTraceState  = "tracestate"
)

const (
	// InlineBytes is the largest body that travels in a message; a larger one stays in
	// the ledger and the message says so.
	InlineBytes = 256 << 10
	// MaxKeyBytes bounds idempotency and entity keys, as the ledger does.
	MaxKeyBytes = 512
	maxHeaders  = 100
)

// Record is the message of one record on its way to a claim.
type Record struct {
	ID             [16]byte
	Fence          int64
	Seq            int64
	Day            int32 // days since 1970-01-01 UTC
	Integration    string
	Source         string
	IdempotencyKey string
	EntityKey      string // also the Kafka key; empty: none
	Version        int64
	Attempt        int32
	AcceptedAt     time.Time // ledger's clock, microseconds
	Body           []byte
	ByReference    bool // the body is in the ledger only
	ContentType    string
	TrackingID     [16]byte  // zero: none
	DueAt          time.Time // zero: at once
	Revision       int32
	Headers        map[string]string

	unknown []byte // fields of a newer version, written again as they came
}

// Outcome is the message of one final status.
type Outcome struct {
	ID             [16]byte
	Fence          int64
	Seq            int64
	Day            int32
	Integration    string
	IdempotencyKey string
	EntityKey      string
	Number         int32  // from 1
	State          string // a final state
	Class          string
	Code           string
	Detail         []byte // JSON, or empty
	AcceptedAt     time.Time
	FinalAt        time.Time

	unknown []byte
}

// EncodeRecord makes the message of a record: key, envelope and headers. A body above
// InlineBytes is left out and by-reference set. extra headers (trace context) follow
// ours. It fails, naming the record, where DecodeRecord would.
func EncodeRecord(r Record, extra ...Header) (Message, error) {
	if len(r.Body) > InlineBytes {
		r.ByReference = true
	}
	if r.ByReference {
		r.Body = nil
	}
	pb := &waybillv1.Record{
		RecordId: r.ID[:], Fence: r.Fence, Seq: r.Seq, Day: r.Day, Integration: r.Integration, Source: r.Source,
		IdempotencyKey: r.IdempotencyKey, EntityKey: r.EntityKey, Version: r.Version, Attempt: r.Attempt,
		AcceptedAtUs: micros(r.AcceptedAt), Body: r.Body, ByReference: r.ByReference, ContentType: r.ContentType,
		DueAtUs: micros(r.DueAt), Revision: r.Revision, Headers: r.Headers,
	}
	if r.TrackingID != [16]byte{} {
		pb.TrackingId = r.TrackingID[:]
	}
	if err := checkRecord(pb); err != nil {
		return Message{}, fmt.Errorf("encode record %s: %w", FormatID(r.ID), err)
	}
	pb.ProtoReflect().SetUnknown(r.unknown)
	value, err := proto.Marshal(pb)
	if err != nil {
		return Message{}, fmt.Errorf("encode record %s: %w", FormatID(r.ID), err)
	}
	headers := []Header{
		{HeaderRecord, []byte(FormatID(r.ID))},
		{HeaderIntegration, []byte(r.Integration)},
		{HeaderAttempt, strconv.AppendInt(nil, int64(r.Attempt), 10)},
	}
	return Message{Key: messageKey(r.EntityKey), Value: value, Headers: append(headers, extra...)}, nil
}

// DecodeRecord reads a message of a work, retry or replay topic. An error says what is
// wrong with it: such a message is for the quarantine.
func DecodeRecord(m Message) (Record, error) {
	var pb waybillv1.Record
	if err := decode(m, &pb, func() error { return checkRecord(&pb) }); err != nil {
		return Record{}, fmt.Errorf("not a record: %w", err)
	}
	r := Record{
		Fence: pb.Fence, Seq: pb.Seq, Day: pb.Day, Integration: pb.Integration, Source: pb.Source,
		IdempotencyKey: pb.IdempotencyKey, EntityKey: pb.EntityKey, Version: pb.Version, Attempt: pb.Attempt,
		AcceptedAt: fromMicros(pb.AcceptedAtUs), Body: pb.Body, ByReference: pb.ByReference, ContentType: pb.ContentType,
		DueAt: fromMicros(pb.DueAtUs), Revision: pb.Revision, Headers: maps.Clone(pb.Headers),
		unknown: pb.ProtoReflect().GetUnknown(),
	}
	copy(r.ID[:], pb.RecordId)
	copy(r.TrackingID[:], pb.TrackingId)
	return r, nil
}

// EncodeOutcome makes the message of an outcome.
func EncodeOutcome(o Outcome, extra ...Header) (Message, error) {
	pb := &waybillv1.Outcome{
		RecordId: o.ID[:], Fence: o.Fence, Seq: o.Seq, Day: o.Day, Integration: o.Integration,
		IdempotencyKey: o.IdempotencyKey, EntityKey: o.EntityKey, Number: o.Number, State: o.State, Class: o.Class,
		Code: o.Code, Detail: o.Detail, AcceptedAtUs: micros(o.AcceptedAt), FinalAtUs: micros(o.FinalAt),
	}
	if err := checkOutcome(pb); err != nil {
		return Message{}, fmt.Errorf("encode outcome of record %s: %w", FormatID(o.ID), err)
	}
	pb.ProtoReflect().SetUnknown(o.unknown)
	value, err := proto.Marshal(pb)
	if err != nil {
		return Message{}, fmt.Errorf("encode outcome of record %s: %w", FormatID(o.ID), err)
	}
	headers := []Header{{HeaderRecord, []byte(FormatID(o.ID))}, {HeaderIntegration, []byte(o.Integration)}}
	return Message{Key: messageKey(o.EntityKey), Value: value, Headers: append(headers, extra...)}, nil
}

// DecodeOutcome reads a message of the result topic.
func DecodeOutcome(m Message) (Outcome, error) {
	var pb waybillv1.Outcome
	if err := decode(m, &pb, func() error { return checkOutcome(&pb) }); err != nil {
		return Outcome{}, fmt.Errorf("not an outcome: %w", err)
	}
	o := Outcome{
		Fence: pb.Fence, Seq: pb.Seq, Day: pb.Day, Integration: pb.Integration, IdempotencyKey: pb.IdempotencyKey,
		EntityKey: pb.EntityKey, Number: pb.Number, State: pb.State, Class: pb.Class, Code: pb.Code, Detail: pb.Detail,
		AcceptedAt: fromMicros(pb.AcceptedAtUs), FinalAt: fromMicros(pb.FinalAtUs), unknown: pb.ProtoReflect().GetUnknown(),
	}
	copy(o.ID[:], pb.RecordId)
	return o, nil
}

func decode(m Message, pb proto.Message, check func() error) error {
	if len(m.Value) == 0 {
		return errors.New("the message is empty")
	}
	if len(m.Value) > MaxMessageBytes {
		return fmt.Errorf("the message has %d bytes, at most %d are read", len(m.Value), MaxMessageBytes)
	}
	if err := proto.Unmarshal(m.Value, pb); err != nil {
		return fmt.Errorf("the envelope cannot be read: %w", err)
	}
	return check()
}

func checkRecord(r *waybillv1.Record) error {
	if err := checkIdentity(r.RecordId, r.Fence, r.Seq, r.Day, r.Integration, r.IdempotencyKey, r.EntityKey); err != nil {
		return err
	}
	switch {
	case r.Source == "" || len(r.Source) > MaxKeyBytes:
		return fmt.Errorf("source has %d bytes, must have 1 to %d", len(r.Source), MaxKeyBytes)
	case r.Attempt < 0:
		return fmt.Errorf("attempt is %d", r.Attempt)
	case r.Revision < 0:
		return fmt.Errorf("revision is %d", r.Revision)
	case r.AcceptedAtUs <= 0:
		return fmt.Errorf("accepted_at is %d", r.AcceptedAtUs)
	case r.DueAtUs < 0:
		return fmt.Errorf("due_at is %d", r.DueAtUs)
	case len(r.TrackingId) != 0 && len(r.TrackingId) != 16:
		return fmt.Errorf("tracking_id has %d bytes, must have 16 or none", len(r.TrackingId))
	case r.ByReference && len(r.Body) > 0:
		return fmt.Errorf("it goes by reference and has a body of %d bytes", len(r.Body))
	case len(r.Body) > InlineBytes:
		return fmt.Errorf("body has %d bytes, above %d it goes by reference", len(r.Body), InlineBytes)
	case len(r.Headers) > maxHeaders:
		return fmt.Errorf("it has %d headers, at most %d", len(r.Headers), maxHeaders)
	}
	return nil
}

func checkOutcome(o *waybillv1.Outcome) error {
	if err := checkIdentity(o.RecordId, o.Fence, o.Seq, o.Day, o.Integration, o.IdempotencyKey, o.EntityKey); err != nil {
		return err
	}
	switch {
	case o.Number < 1:
		return fmt.Errorf("outcome number is %d, they begin at 1", o.Number)
	case o.State == "":
		return errors.New("state is missing")
	case len(o.Detail) > InlineBytes:
		return fmt.Errorf("detail has %d bytes, at most %d", len(o.Detail), InlineBytes)
	case len(o.Detail) > 0 && !json.Valid(o.Detail):
		return errors.New("detail is not JSON")
	case o.AcceptedAtUs <= 0 || o.FinalAtUs < o.AcceptedAtUs:
		return fmt.Errorf("accepted_at is %d and final_at %d", o.AcceptedAtUs, o.FinalAtUs)
	}
	return nil
}

func checkIdentity(id []byte, fence, seq int64, day int32, integration, idempotency, entity string) error {
	if len(id) != 16 {
		return fmt.Errorf("record_id has %d bytes, must have 16", len(id))
	}
	if [16]byte(id) == ([16]byte{}) {
		return errors.New("record_id is all zero")
	}
	if fence < 0 || seq < 0 || day < 0 {
		return fmt.Errorf("fence %d, seq %d or day %d is negative", fence, seq, day)
	}
	for _, s := range []struct {
		name, value string
		least       int
	}{{"integration", integration, 1}, {"idempotency_key", idempotency, 1}, {"entity_key", entity, 0}} {
		if len(s.value) < s.least || len(s.value) > MaxKeyBytes {
			return fmt.Errorf("%s has %d bytes, must have %d to %d", s.name, len(s.value), s.least, MaxKeyBytes)
		}
		if !utf8.ValidString(s.value) {
			return fmt.Errorf("%s is not UTF-8", s.name)
		}
	}
	return nil
}

func messageKey(entity string) []byte {
	if entity == "" {
		return nil
	}
	return []byte(entity)
}

// micros is a time on the wire; zero means none, and comes back as the zero Time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// FormatID writes a 16-byte id the way UUIDs are written.
func FormatID(id [16]byte) string {
	return uuid.UUID(id).String()
}
