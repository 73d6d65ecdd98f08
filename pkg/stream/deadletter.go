package stream

import (
	"encoding/binary"
	"strconv"
	"time"
)

// DeadLetter is what a dead letter tells beside the original message.
type DeadLetter struct {
	Record      [16]byte
	Integration string
	Attempts    int32
	Class       string // class of the last error
	Code        string
	Message     string // cut at 2 KiB
	Group       string // who gave up
	AcceptedAt  time.Time
	DiedAt      time.Time
	// Origin: where the message came from. Offset below zero means not from a topic.
	Origin Message
}

// maxErrorBytes bounds an error's text in a header.
const maxErrorBytes = 2 << 10

// Headers of a dead letter, besides ours, have the names Spring for Apache Kafka and
// Kafka Connect give theirs, so that the tools made for those read it.
const (
	HeaderErrorClass   = "waybill-error-class"
	HeaderErrorCode    = "waybill-error-code"
	HeaderErrorMessage = "waybill-error-message"
	HeaderAcceptedAt   = "waybill-accepted-at" // RFC 3339
	HeaderDiedAt       = "waybill-died-at"
	HeaderOriginTopic  = "waybill-origin-topic"
	HeaderOriginPart   = "waybill-origin-partition"
	HeaderOriginOffset = "waybill-origin-offset"
)

// DeadLetterMessage makes the dead-letter message: key, value and headers of the
// original as they were, then where it came from and why it died, under our names,
// Spring's (numbers as big-endian bytes, as Spring reads them) and Kafka Connect's.
func DeadLetterMessage(original Message, d DeadLetter) Message {
	message := cut(d.Message, maxErrorBytes)
	headers := append([]Header(nil), original.Headers...)
	text := func(name, value string) { headers = append(headers, Header{name, []byte(value)}) }
	text(HeaderRecord, FormatID(d.Record))
	text(HeaderIntegration, d.Integration)
	text(HeaderAttempt, strconv.Itoa(int(d.Attempts)))
	text(HeaderErrorClass, d.Class)
	text(HeaderErrorCode, d.Code)
	text(HeaderErrorMessage, message)
	text(HeaderAcceptedAt, d.AcceptedAt.UTC().Format(time.RFC3339Nano))
	text(HeaderDiedAt, d.DiedAt.UTC().Format(time.RFC3339Nano))
	exception := "waybill." + d.Class
	text("kafka_dlt-exception-fqcn", exception)
	text("kafka_dlt-exception-message", message)
	text("__connect.errors.exception.class.name", exception)
	text("__connect.errors.exception.message", message)
	text("__connect.errors.connector.name", d.Integration)
	if o := d.Origin; o.Topic != "" && o.Offset >= 0 {
		headers = append(headers, originHeaders(o)...)
		text("kafka_dlt-original-topic", o.Topic)
		headers = append(headers,
			Header{"kafka_dlt-original-partition", binary.BigEndian.AppendUint32(nil, uint32(o.Partition))},
			Header{"kafka_dlt-original-offset", binary.BigEndian.AppendUint64(nil, uint64(o.Offset))},
			Header{"kafka_dlt-original-timestamp", binary.BigEndian.AppendUint64(nil, uint64(o.Time.UnixMilli()))},
			Header{"kafka_dlt-original-timestamp-type", []byte("CreateTime")},
			Header{"kafka_dlt-original-consumer-group", []byte(d.Group)})
		text("__connect.errors.topic", o.Topic)
		text("__connect.errors.partition", strconv.Itoa(o.Partition))
		text("__connect.errors.offset", strconv.FormatInt(o.Offset, 10))
	}
	return Message{Key: original.Key, Value: original.Value, Headers: headers}
}

func originHeaders(m Message) []Header {
	return []Header{
		{HeaderOriginTopic, []byte(m.Topic)},
		{HeaderOriginPart, []byte(strconv.Itoa(m.Partition))},
		{HeaderOriginOffset, []byte(strconv.FormatInt(m.Offset, 10))},
	}
}

// cut shortens a text to so many bytes, at a character's border.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xc0 == 0x80 {
		most--
	}
	return s[:most]
}
