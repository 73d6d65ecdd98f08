// Package topic takes the messages of Kafka topics that exist already: our own
// systems write there, and each message is one record.
//
//	sources, err := topic.New(topic.Config{...})  // one for each kafka source of the catalog
//	for _, s := range sources { ... s.Run(ctx) }  // each on a goroutine of its own, until ctx ends
//
// # Order of things
//
// An offset is committed only after the ledger has the message as a record, or the
// refusal of it. A crash in between brings the message again, and it is recognised:
// without an expression of the integration's own, its identity is its place on the
// topic and the time that Kafka gave it, so that a topic that was made anew is
// another one. A ledger that does not answer holds the partition, nothing is passed
// over.
//
// # Messages
//
// The value is a JSON document; the key, topic, partition and offset are kept as
// headers beside the message's own. What cannot be a record (no JSON, larger than
// MaxBody, a tombstone) is kept as a refused interaction and goes to the quarantine
// topic, and one person is told. What the integration would refuse over HTTP, and
// what its expressions find no key in, becomes a rejected record, known by its place
// if need be: nobody waits for an answer, and one message holds up no other. Whatever
// holds a partition for longer than patience tries is told.
package topic

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/stream"
	"waybill.internal/pkg/telemetry"
	"waybill.internal/services/ingest/internal/accept"
)

const (
	// MaxBody is the largest message that becomes a record, in bytes.
	MaxBody = 1 << 20
	// batch is how many messages of a partition are under way at once.
	batch = 200
	// prepareAtOnce bounds the decoded bodies of one batch.
	prepareAtOnce = 8
	acceptTimeout = 10 * time.Second
	// patience is how many times in a row messages of a source cannot be kept before
	// a person is told; with the consumer's growing waits that is about a minute.
	patience = 10
)

// The headers that say where a message stood.
const (
	headerKey       = "kafka-key"
	headerTopic     = "kafka-topic"
	headerPartition = "kafka-partition"
	headerOffset    = "kafka-offset"
)

// Config of New. All fields are required.
type Config struct {
	Kafka      *stream.Factory
	Quarantine *stream.Quarantine
	Acceptor   *accept.Acceptor
	Catalog    *catalog.Catalog
	Now        func() time.Time // the ledger's clock
	Log        *zap.Logger
	Alert      func(telemetry.Problem)
	// Count is told how many messages were answered how: received, duplicate or refused.
	Count func(integration, source, answer string, messages int)
}

// Source is one topic. Run is called again after a pause, one at a time.
type Source struct {
	Config
	integration string
	source      string
	kafka       *integration.Kafka
	consumer    *stream.Consumer
	failures    atomic.Int64 // of handle in a row, over all partitions
}

// New makes a Source for each kafka source of the catalog. Two that read the same
// topic in the same group would each get half of it: an error.
func New(c Config) ([]*Source, error) {
	var sources []*Source
	taken := map[string]*Source{}
	for _, e := range c.Catalog.Entries() {
		for i := range e.Sources {
			if e.Sources[i].Kafka == nil {
				continue
			}
			s := &Source{Config: c, integration: e.Name, source: e.Sources[i].Name, kafka: e.Sources[i].Kafka}
			place := s.kafka.Brokers + "/" + s.kafka.Topic + "/" + s.kafka.Group
			if other := taken[place]; other != nil {
				return nil, fmt.Errorf("%s and %s both read %s in the group %s; give one of them another group", other.Name(), s.Name(), s.kafka.Topic, s.kafka.Group)
			}
			taken[place] = s
			s.Log = c.Log.With(zap.String(telemetry.FieldIntegration, s.integration), zap.String(telemetry.FieldSource, s.source))
			if err := s.join(); err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name(), err)
			}
			sources = append(sources, s)
		}
	}
	return sources, nil
}

func (s *Source) join() (err error) {
	factory, err := clusterOf(s.Kafka, s.kafka)
	if err != nil {
		return err
	}
	s.consumer, err = factory.NewConsumer(stream.ConsumerConfig{
		Group: s.kafka.Group, Topics: []string{s.kafka.Topic}, Foreign: true, Handle: s.take, MaxBatch: batch,
		Report: func(err error) {
			s.Log.Warn("kafka source: it is tried again", zap.Error(err))
		},
		OnHang: func(h stream.Hang) {
			s.Alert(telemetry.Problem{Kind: telemetry.KindPart, Integration: s.integration, Code: "topic_hangs", Where: s.source, Message: h.String(), Repair: "waybill doctor"})
		},
	})
	return err
}

// Name is unique among the sources.
func (s *Source) Name() string { return "topic " + s.integration + "/" + s.source }

// Run reads until ctx ends.
func (s *Source) Run(ctx context.Context) error { return s.consumer.Run(ctx) }

// take is handle, and tells a person when it fails on and on: what is held here is
// seen in no ledger.
func (s *Source) take(ctx context.Context, msgs []stream.Message) (done int, err error) {
	done, err = s.handle(ctx, msgs)
	if err == nil || done > 0 {
		s.failures.Store(0)
		return done, err
	}
	if ctx.Err() == nil && s.failures.Add(1)%patience == 0 {
		at := msgs[0]
		s.Alert(telemetry.Problem{Kind: telemetry.KindPart, Integration: s.integration, Class: fault.Of(err).Class, Code: "topic_held", Where: s.source, Repair: "waybill doctor",
			Message: fmt.Sprintf("the messages of %s[%d] from offset %d on cannot be kept, wait on the topic and are tried again: %v", at.Topic, at.Partition, at.Offset, err)})
	}
	return done, err
}

// handle accepts the messages at once and says how many, from the first one on, the
// ledger knows now.
func (s *Source) handle(ctx context.Context, msgs []stream.Message) (done int, err error) {
	entry, ok := s.Catalog.Get(s.integration)
	if !ok {
		return 0, fmt.Errorf("integration %s is not there any more", s.integration)
	}
	origin, ok := entry.Source(s.source)
	if !ok {
		return 0, fmt.Errorf("integration %s has no source %s any more", s.integration, s.source)
	}
	ctx, cancel := context.WithTimeout(ctx, acceptTimeout)
	defer cancel()
	failures := make([]error, len(msgs))
	prepared := make([]ledger.Arrival, len(msgs))
	var preparing errgroup.Group
	preparing.SetLimit(prepareAtOnce)
	for i := range msgs {
		preparing.Go(func() error {
			prepared[i], failures[i] = s.prepare(ctx, entry, origin, msgs[i])
			return nil
		})
	}
	_ = preparing.Wait() // failures has the errors
	var arrivals []ledger.Arrival
	var places []int // of the arrivals in msgs
	for i, err := range failures {
		if err == nil {
			arrivals, places = append(arrivals, prepared[i]), append(places, i)
		}
	}
	receipts, errs := s.Acceptor.AcceptAll(ctx, arrivals)
	for n, i := range places {
		if failures[i] = errs[n]; errs[n] == nil {
			s.tell(arrivals[n], receipts[n])
		}
	}
	for i, err := range failures {
		if err != nil {
			err = s.refuse(ctx, msgs[i], err)
		}
		if err != nil {
			return i, err
		}
	}
	return len(msgs), nil
}

// prepare makes an arrival of a message. A *fault.Error of class data says why it
// can be none.
func (s *Source) prepare(ctx context.Context, entry catalog.Entry, origin *integration.Source, m stream.Message) (ledger.Arrival, error) {
	if len(m.Value) > MaxBody {
		return ledger.Arrival{}, fault.New(fault.Data, "body_too_large", "the message has %d bytes, at most %d are taken", len(m.Value), MaxBody)
	}
	if len(m.Value) == 0 {
		return ledger.Arrival{}, fault.New(fault.Data, "empty", "the message has no value; a tombstone is no record: write what happened as a JSON document")
	}
	body, err := integration.DecodeJSON(m.Value)
	if err != nil {
		s.Acceptor.Unread(s.integration, s.source, "unreadable")
		return ledger.Arrival{}, fault.Wrap(err, fault.Data, "unreadable", "the message is not the JSON it should be: %v", err)
	}
	all := headersOf(m)
	arrival, err := s.Acceptor.Prepare(ctx, accept.Input{Entry: entry, Source: origin, Body: body, Raw: m.Value, ContentType: "application/json",
		Headers: kept(all), KeyHeaders: all, EventID: identity(m), SpareKey: identity(m), TrackingID: uuid.Must(uuid.NewV7())})
	if err == nil {
		return arrival, nil
	}
	f := fault.Of(err)
	if f.Class == fault.Data && arrival.ID != (record.ID{}) { // `invalid: refuse`: nobody waits who could be told
		arrival.Failure = accept.Failure(f)
		return arrival, nil
	}
	return ledger.Arrival{}, err
}

// identity is the message's place, and when it was written: offsets begin anew when
// a topic is made anew.
func identity(m stream.Message) string {
	return m.Topic + ":" + strconv.Itoa(m.Partition) + ":" + strconv.FormatInt(m.Offset, 10) + ":" + strconv.FormatInt(m.Time.UnixMilli(), 10)
}

func headersOf(m stream.Message) map[string]string {
	out := make(map[string]string, len(m.Headers)+4)
	for _, h := range m.Headers {
		out[strings.ToLower(h.Key)] = text(h.Value)
	}
	out[headerKey], out[headerTopic] = text(m.Key), m.Topic
	out[headerPartition], out[headerOffset] = strconv.Itoa(m.Partition), strconv.FormatInt(m.Offset, 10)
	return out
}

// kept is what the ledger keeps of the headers: few, short and without secrets.
func kept(all map[string]string) map[string]string {
	h := make(http.Header, len(all))
	for name, value := range all {
		h[name] = []string{value}
	}
	out := make(map[string]string, len(all))
	for name, value := range egress.RedactHeader(h) {
		out[strings.ToLower(name)] = value
	}
	return out
}

// text gives bytes that are no text as hex.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return "hex:" + hex.EncodeToString(b)
}

// tell counts what became of a message and raises what a person should know.
func (s *Source) tell(a ledger.Arrival, receipt ledger.Receipt) {
	about := []string{receipt.Record.ID.String()}
	switch {
	case receipt.Refused:
		s.Count(s.integration, s.source, "refused", 1)
	case receipt.Duplicate && !receipt.Revived:
		s.Count(s.integration, s.source, "duplicate", 1)
	default:
		s.Count(s.integration, s.source, "received", 1)
	}
	if receipt.Conflict {
		s.Alert(telemetry.Problem{Kind: telemetry.KindConflict, Integration: s.integration, Class: fault.Duplicate, Code: "conflict", Where: s.source, Records: about,
			Message: "a known idempotency key came with another body", Repair: "waybill trace " + about[0]})
	}
	if a.Failure != nil && !receipt.Duplicate {
		kind := telemetry.KindRejected
		if a.Failure.Class == fault.Bug {
			kind = telemetry.KindIntegrationInvalid
		}
		s.Alert(telemetry.Problem{Kind: kind, Integration: s.integration, Class: a.Failure.Class, Code: a.Failure.Code, Where: s.source, Records: about,
			Message: a.Failure.Message, Repair: "waybill trace " + about[0]})
	}
}

// refuse keeps what can be no record: in the ledger, then on the quarantine topic.
// Whatever is not the message's fault holds the partition.
func (s *Source) refuse(ctx context.Context, m stream.Message, cause error) error {
	if _, ours := errors.AsType[*accept.Unavailable](cause); ours {
		return cause
	}
	f := fault.Of(cause)
	if f.Class != fault.Data {
		s.Alert(telemetry.Problem{Kind: telemetry.KindIntegrationInvalid, Integration: s.integration, Class: f.Class, Code: f.Code, Where: s.source,
			Message: f.Message, Stack: f.Stack, Repair: "waybill check"})
		return cause
	}
	if err := s.Quarantine.Put(ctx, m, f); err != nil {
		return err
	}
	place := fmt.Sprintf("kafka://%s/%d/%d", m.Topic, m.Partition, m.Offset)
	err := s.Acceptor.Refuse(ctx, ledger.Interaction{TrackingID: uuid.Must(uuid.NewV7()), Integration: s.integration, Method: "CONSUME", URL: place,
		RequestBody: egress.Capture(m.Value).Data, Error: f.Error(), At: s.Now()})
	if err == nil {
		s.Count(s.integration, s.source, "refused", 1)
	}
	return err
}
