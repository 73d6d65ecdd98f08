package proto_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	waybillv1 "waybill.internal/proto/waybill/v1"
)

// write makes missing golden files. It never replaces one: golden bytes are
// what old binaries wrote, so a version that cannot read them is wrong, not they.
var write = flag.Bool("write-golden", false, "write golden files that do not exist yet")

func sequence(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

func goldenRecord() *waybillv1.Record {
	return &waybillv1.Record{
		RecordId: sequence(0x10, 16), Fence: 7, Seq: 1234567890123, Day: 20777,
		Integration: "service-requests", Source: "webhook", IdempotencyKey: "evt_Größe-1",
		EntityKey: "order-4711", Version: -3, Attempt: 2, AcceptedAtUs: 1795225800123456,
		Body: []byte("{\"a\":1}\x00\xff"), ContentType: "application/json",
		TrackingId: sequence(0x80, 16), DueAtUs: 1795225805123456, Revision: 1,
		Headers: map[string]string{"x-brand": "acme"},
	}
}

func goldenReference() *waybillv1.Record {
	return &waybillv1.Record{
		RecordId: sequence(0x20, 16), Fence: 1, Seq: 1, Day: 1, Integration: "files", Source: "file",
		IdempotencyKey: "sha256:00-7", AcceptedAtUs: 1, ByReference: true, ContentType: "text/csv",
	}
}

func goldenOutcome() *waybillv1.Outcome {
	return &waybillv1.Outcome{
		RecordId: sequence(0x10, 16), Fence: 8, Seq: 1234567890123, Day: 20777,
		Integration: "service-requests", IdempotencyKey: "evt_Größe-1", EntityKey: "order-4711",
		Number: 2, State: "rejected", Class: "data", Code: "schema",
		Detail: []byte(`{"errors":[{"pointer":"/email"}]}`), AcceptedAtUs: 1795225800123456, FinalAtUs: 1795225801654321,
	}
}

func TestGoldenBytesAreStillRead(t *testing.T) {
	t.Parallel()
	cases := []struct {
		file string
		want proto.Message
		got  proto.Message
	}{
		{"record.v1.bin", goldenRecord(), &waybillv1.Record{}},
		{"record-by-reference.v1.bin", goldenReference(), &waybillv1.Record{}},
		{"outcome.v1.bin", goldenOutcome(), &waybillv1.Outcome{}},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			data := golden(t, c.file, c.want)
			if err := proto.Unmarshal(data, c.got); err != nil {
				t.Fatalf("read %s: %v", c.file, err)
			}
			compareFields(t, c.want.ProtoReflect(), c.got.ProtoReflect())
			if unknown := c.got.ProtoReflect().GetUnknown(); len(unknown) != 0 {
				t.Errorf("%s holds a field this version no longer knows: % x", c.file, unknown)
			}
		})
	}
}

func golden(t *testing.T, name string, m proto.Message) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) && *write {
		if data, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err == nil {
			err = os.WriteFile(path, data, 0o644)
		}
	}
	if err != nil {
		t.Fatalf("golden file %s: %v", path, err)
	}
	return data
}

// compareFields goes over the fields by name, so that a moved number, a changed
// type and a renamed field are each named in the failure.
func compareFields(t *testing.T, want, got protoreflect.Message) {
	t.Helper()
	fields := want.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if w, g := want.Get(f), got.Get(f); !w.Equal(g) {
			t.Errorf("field %s: golden bytes read as %v, want %v", f.Name(), g, w)
		}
	}
}

func TestEveryFieldIsInAGoldenFile(t *testing.T) {
	t.Parallel()
	for _, messages := range [][]proto.Message{{goldenRecord(), goldenReference()}, {goldenOutcome()}} {
		fields := messages[0].ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			set := false
			for _, m := range messages {
				set = set || m.ProtoReflect().Has(fields.Get(i))
			}
			if !set {
				t.Errorf("%s is in no golden message: add a new golden file that has it", fields.Get(i).FullName())
			}
		}
	}
}

func TestUnknownFieldsSurvive(t *testing.T) {
	t.Parallel()
	// A newer version added field 900; this one reads, changes and writes the message.
	newer := protowire.AppendTag(nil, 900, protowire.BytesType)
	newer = protowire.AppendString(newer, "from the future")
	data, err := proto.Marshal(goldenRecord())
	if err != nil {
		t.Fatal(err)
	}
	var r waybillv1.Record
	if err := proto.Unmarshal(append(data, newer...), &r); err != nil {
		t.Fatal(err)
	}
	r.Attempt++
	out, err := proto.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(out, newer) {
		t.Fatal("the unknown field was lost on the way through this version")
	}
}

func TestTruncatedBytesAreAnError(t *testing.T) {
	t.Parallel()
	data, err := proto.Marshal(goldenRecord())
	if err != nil {
		t.Fatal(err)
	}
	var r waybillv1.Record
	if err := proto.Unmarshal(data[:len(data)-3], &r); err == nil || !strings.Contains(err.Error(), "proto") {
		t.Fatalf("truncated message: got %v, want an error", err)
	}
}
