package stream

import "time"

// Header is one header of a message. Names may repeat.
type Header struct {
	Key   string
	Value []byte
}

// Message is one Kafka message. Publish reads Key, Value and Headers; the rest is
// set on messages a Consumer hands over. Whoever holds a message from a Consumer
// may keep it; Publish does not change or keep its messages after it returned
// without an error (after an error it may still read them for a moment).
type Message struct {
	Topic     string
	Partition int
	Offset    int64
	// Key decides the partition; nil means any partition.
	Key     []byte
	Value   []byte
	Headers []Header
	Time    time.Time
}

// Header returns the value of the first header with this name, and whether there is one.
func (m Message) Header(name string) (string, bool) {
	for _, h := range m.Headers {
		if h.Key == name {
			return string(h.Value), true
		}
	}
	return "", false
}

// perMessageBytes is what Kafka adds to a message, rounded up.
const perMessageBytes = 32

// size of the message on the wire, within a few bytes.
func (m Message) size() int {
	n := perMessageBytes + len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += 10 + len(h.Key) + len(h.Value)
	}
	return n
}

// murmur2 is the hash of Kafka's Java client, so that every tool agrees with us on
// the partition of a key.
func murmur2(data []byte) uint32 {
	const (
		seed uint32 = 0x9747b28c
		m    uint32 = 0x5bd1e995
	)
	h := seed ^ uint32(len(data))
	for len(data) >= 4 {
		k := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16 | uint32(data[3])<<24
		k *= m
		k ^= k >> 24
		k *= m
		h = h*m ^ k
		data = data[4:]
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// PartitionOf is the partition of a key in a topic of n partitions.
func PartitionOf(key []byte, n int) int {
	return int(murmur2(key)&0x7fffffff) % n
}
