package stream_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"waybill.internal/pkg/stream"
)

func sampleRecord() stream.Record {
	at := time.Date(2026, 11, 21, 2, 0, 0, 123456000, time.UTC)
	return stream.Record{
		ID: [16]byte{1, 2, 3}, Fence: 3, Seq: 9, Day: 20778, Integration: "service-requests", Source: "webhook",
		IdempotencyKey: "evt_1", EntityKey: "order-7", Version: -2, Attempt: 1, AcceptedAt: at, Body: []byte(`{"a":1}`),
		ContentType: "application/json", TrackingID: [16]byte{9}, DueAt: at.Add(time.Second), Revision: 2,
		Headers: map[string]string{"x": "y"},
	}
}

func sampleOutcome() stream.Outcome {
	at := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	return stream.Outcome{
		ID: [16]byte{1}, Fence: 4, Seq: 9, Day: 20778, Integration: "i", IdempotencyKey: "k", EntityKey: "e", Number: 1,
		State: "rejected", Class: "data", Code: "schema", Detail: []byte(`{"line":3}`), AcceptedAt: at, FinalAt: at.Add(time.Second),
	}
}

func TestRecordRoundTrip(t *testing.T) {
	t.Parallel()
	want := sampleRecord()
	m, err := stream.EncodeRecord(want, stream.Header{Key: stream.HeaderTraceParent, Value: []byte("00-1")})
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Key) != "order-7" {
		t.Errorf("the key is %q, want the entity key", m.Key)
	}
	for name, value := range map[string]string{
		stream.HeaderRecord: stream.FormatID(want.ID), stream.HeaderIntegration: "service-requests",
		stream.HeaderAttempt: "1", stream.HeaderTraceParent: "00-1",
	} {
		if got, _ := m.Header(name); got != value {
			t.Errorf("header %s is %q, want %q", name, got, value)
		}
	}
	got, err := stream.DecodeRecord(m)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestOutcomeRoundTrip(t *testing.T) {
	t.Parallel()
	want := sampleOutcome()
	m, err := stream.EncodeOutcome(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := stream.DecodeOutcome(m)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
}

func TestLargeBodyGoesByReference(t *testing.T) {
	t.Parallel()
	r := sampleRecord()
	r.Body = make([]byte, stream.InlineBytes)
	m, err := stream.EncodeRecord(r)
	if err != nil || len(m.Value) < stream.InlineBytes {
		t.Fatalf("a body of %d bytes travels: %v", len(r.Body), err)
	}
	r.Body = make([]byte, stream.InlineBytes+1)
	if m, err = stream.EncodeRecord(r); err != nil {
		t.Fatal(err)
	}
	got, err := stream.DecodeRecord(m)
	if err != nil || !got.ByReference || len(got.Body) != 0 || len(m.Value) > 1000 {
		t.Errorf("by reference %v, body %d bytes, message %d bytes, %v", got.ByReference, len(got.Body), len(m.Value), err)
	}
}

func TestUnknownFieldsTravelOn(t *testing.T) {
	t.Parallel()
	m, err := stream.EncodeRecord(sampleRecord())
	if err != nil {
		t.Fatal(err)
	}
	newer := protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "future")
	m.Value = append(m.Value, newer...)
	r, err := stream.DecodeRecord(m)
	if err != nil {
		t.Fatal(err)
	}
	r.Attempt++
	if m, err = stream.EncodeRecord(r); err != nil || !bytes.Contains(m.Value, newer) {
		t.Errorf("a newer version's field was lost on a retry (%v)", err)
	}
}

func TestWrongRecordsAreNamed(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*stream.Record){
		"record_id is all zero":   func(r *stream.Record) { r.ID = [16]byte{} },
		"fence -1":                func(r *stream.Record) { r.Fence = -1 },
		"integration has 0":       func(r *stream.Record) { r.Integration = "" },
		"idempotency_key has 513": func(r *stream.Record) { r.IdempotencyKey = strings.Repeat("x", 513) },
		"entity_key is not UTF-8": func(r *stream.Record) { r.EntityKey = "\xff" },
		"source has 0":            func(r *stream.Record) { r.Source = "" },
		"attempt is -1":           func(r *stream.Record) { r.Attempt = -1 },
		"revision is -1":          func(r *stream.Record) { r.Revision = -1 },
		"accepted_at is 0":        func(r *stream.Record) { r.AcceptedAt = time.Time{} },
	} {
		r := sampleRecord()
		change(&r)
		if _, err := stream.EncodeRecord(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for want, change := range map[string]func(*stream.Outcome){
		"number is 0":      func(o *stream.Outcome) { o.Number = 0 },
		"state is missing": func(o *stream.Outcome) { o.State = "" },
		"not JSON":         func(o *stream.Outcome) { o.Detail = []byte("{") },
		"final_at":         func(o *stream.Outcome) { o.FinalAt = o.AcceptedAt.Add(-time.Second) },
	} {
		o := sampleOutcome()
		change(&o)
		if _, err := stream.EncodeOutcome(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestWrongBytesAreErrors(t *testing.T) {
	t.Parallel()
	short := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte("short"))
	for want, value := range map[string][]byte{
		"empty":                nil,
		"cannot be read":       {0xff, 0xff},
		"record_id has 5 byte": short,
		"at most":              make([]byte, stream.MaxMessageBytes+1),
	} {
		if _, err := stream.DecodeRecord(stream.Message{Value: value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("record: got %v, want %q", err, want)
		}
		if _, err := stream.DecodeOutcome(stream.Message{Value: value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("outcome: got %v, want %q", err, want)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	m, err := stream.EncodeRecord(sampleRecord())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.Value)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := stream.DecodeRecord(stream.Message{Value: data})
		if err != nil {
			return
		}
		if _, err := stream.EncodeRecord(r); err != nil {
			t.Fatalf("a record that was read cannot be written: %v", err)
		}
	})
}

func TestDeadLetterHeaders(t *testing.T) {
	t.Parallel()
	original := stream.Message{Key: []byte("k"), Value: []byte("v"), Headers: []stream.Header{{Key: "theirs", Value: []byte("1")}}}
	m := stream.DeadLetterMessage(original, stream.DeadLetter{
		Record: [16]byte{1}, Integration: "i", Attempts: 12, Class: "system", Code: "timeout", Group: "waybill.main",
		Message: strings.Repeat("ä", 3000), AcceptedAt: time.Unix(1, 0), DiedAt: time.Unix(2, 0),
		Origin: stream.Message{Topic: "waybill.main.work", Partition: 2, Offset: 258, Time: time.UnixMilli(1)},
	})
	if string(m.Key) != "k" || string(m.Value) != "v" {
		t.Error("key or value changed")
	}
	for name, want := range map[string]string{
		"theirs": "1", stream.HeaderErrorClass: "system", stream.HeaderOriginOffset: "258",
		"kafka_dlt-original-topic": "waybill.main.work", "kafka_dlt-original-partition": "\x00\x00\x00\x02",
		"kafka_dlt-original-offset": "\x00\x00\x00\x00\x00\x00\x01\x02", "__connect.errors.topic": "waybill.main.work",
		"__connect.errors.partition": "2", "__connect.errors.offset": "258", "kafka_dlt-exception-message": strings.Repeat("ä", 1024),
	} {
		if got, ok := m.Header(name); !ok || got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
}

func TestQuarantineKeepsWhatItCan(t *testing.T) {
	t.Parallel()
	cluster := embedded(t)
	f := factory(t, cluster.ListenAddrs(), "q")
	p := producer(t, f)
	var reports []stream.Quarantined
	q := stream.NewQuarantine(p, f.Topics(), func(one stream.Quarantined) { reports = append(reports, one) })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	bad := stream.Message{Topic: "q.main.work", Partition: 1, Offset: 7, Key: []byte("k"), Value: make([]byte, 1<<20),
		Headers: []stream.Header{{Key: "big", Value: make([]byte, 1<<20)}}}
	for range 3 {
		if err := q.Put(ctx, bad, errors.New("not a record")); err != nil {
			t.Fatal(err)
		}
	}
	if len(reports) != 1 || reports[0].Offset != 7 || reports[0].Count != 1 {
		t.Errorf("reports are %v, want one", reports)
	}
	got := make(chan stream.Message, 3)
	consume(t, f, stream.ConsumerConfig{Group: "people", Topics: []string{f.Topics().Quarantine()},
		Handle: func(_ context.Context, msgs []stream.Message) (int, error) {
			got <- msgs[0]
			return 1, nil
		}})
	m := <-got
	if len(m.Value) != stream.QuarantineBytes {
		t.Errorf("%d bytes kept, want %d", len(m.Value), stream.QuarantineBytes)
	}
	for name, want := range map[string]string{
		stream.HeaderQuarantineReason: "not a record", stream.HeaderQuarantineSize: "1048576",
		stream.HeaderOriginTopic: "q.main.work", stream.HeaderOriginPart: "1", stream.HeaderOriginOffset: "7",
	} {
		if got, _ := m.Header(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
}
