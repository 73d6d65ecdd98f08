package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// partition is what a generation knows of one of its partitions: what is fetched and
// not done, and how far everything is done. Fetcher, handler and keeper share it.
type partition struct {
	place   place
	arrived chan struct{}   // 1 deep: messages were added
	over    <-chan struct{} // closed when its handler has returned

	mu        sync.Mutex
	buffer    []Message
	bytes     int
	position  int64 // next offset to fetch
	fetched   bool  // a fetch has succeeded in this generation
	watermark int64 // all before it is done; -1: nothing is known to be
	committed int64 // as the group has it
	epoch     int   // raised when offsets begin to mean other messages
	gone      bool  // offsets of it must not be committed any more

	handling time.Time // since when Handle runs; zero: it does not
	offset   int64     // of the first message Handle has
	told     bool      // OnHang knows of this call
}

func newPartition(at place, offset int64) *partition {
	p := &partition{place: at, arrived: make(chan struct{}, 1), position: offset, watermark: -1, committed: offset}
	if offset < 0 {
		// Nothing committed: from the start. Zero is right for most topics and costs no
		// question; where it is not, the broker says "out of range".
		p.position, p.committed = 0, -1
	}
	return p
}

// head is the first messages of the buffer, which stay there until finish.
func (p *partition) head(maxMessages, maxBytes int) ([]Message, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, bytes := 0, 0
	for n < len(p.buffer) && n < maxMessages {
		bytes += p.buffer[n].size()
		if n > 0 && bytes > maxBytes {
			break
		}
		n++
	}
	return p.buffer[:n:n], p.epoch
}

func (p *partition) begin(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handling, p.offset, p.told = time.Now(), offset, false
}

// finish takes the messages that are done off the buffer and raises the watermark,
// unless their offsets mean nothing any more.
func (p *partition) finish(done []Message, epoch int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handling = time.Time{}
	if len(done) == 0 || epoch != p.epoch {
		return
	}
	for _, m := range done {
		p.bytes -= m.size()
	}
	p.watermark = done[len(done)-1].Offset + 1
	p.buffer = p.buffer[len(done):]
	if len(p.buffer) == 0 {
		p.buffer = nil // the array would keep what is done alive
	}
}

// add puts fetched messages behind the others. next is the offset after the fetch.
func (p *partition) add(msgs []Message, next int64) {
	p.mu.Lock()
	p.fetched = true
	for _, m := range msgs {
		if m.Offset >= p.position {
			p.buffer = append(p.buffer, m)
			p.bytes += m.size()
		}
	}
	p.position = max(p.position, next)
	some := len(p.buffer) > 0
	p.mu.Unlock()
	if some {
		select {
		case p.arrived <- struct{}{}:
		default:
		}
	}
}

// outOfRange goes to the earliest offset there is. Messages in the buffer are still
// handled if they only fell out of retention; if the log is another one (a recreated
// topic: its offsets began anew), theirs mean nothing any more.
func (p *partition) outOfRange(earliest int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ahead := earliest > p.position
	p.position = earliest
	if ahead {
		return
	}
	p.epoch++
	p.buffer, p.bytes = nil, 0
	p.watermark = earliest
}

// room says where to fetch from next, and whether there is room for more.
func (p *partition) room(maxMessages, maxBytes int) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.position, !p.gone && len(p.buffer) < maxMessages && p.bytes < maxBytes
}

// disown forbids commits: the topic is gone, or the handler was left behind.
func (p *partition) disown() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	p.epoch++
}

// missing is told that the broker does not know the partition. It says whether that
// ends the generation: what was once read and is unknown now was deleted, and what
// comes in its place must be read from its own start.
func (p *partition) missing(sure bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.fetched && !sure {
		return false
	}
	p.gone = true
	return true
}

func (p *partition) handlingSince() (offset int64, since time.Duration, busy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.handling.IsZero() {
		return 0, 0, false
	}
	return p.offset, time.Since(p.handling), true
}

// keeper commits what is done, and watches for Handle calls that do not return.
type keeper struct {
	consumer   *Consumer
	gen        *kafka.Generation
	partitions []*partition
}

func (k *keeper) run(ctx context.Context) {
	ticker := time.NewTicker(k.consumer.config.CommitEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return // work commits once more when the handlers are done
		case <-ticker.C:
			k.commit()
			k.watch()
		}
	}
}

// commit tells the group how far each partition is done. Only the generation that
// owns them can: the coordinator refuses it from any other, so an owner of the past
// never takes the group back.
func (k *keeper) commit() {
	offsets := map[string]map[int]int64{}
	for _, p := range k.partitions {
		p.mu.Lock()
		if !p.gone && p.watermark >= 0 && p.watermark != p.committed {
			if offsets[p.place.topic] == nil {
				offsets[p.place.topic] = map[int]int64{}
			}
			offsets[p.place.topic][p.place.partition] = p.watermark
		}
		p.mu.Unlock()
	}
	if len(offsets) == 0 {
		return
	}
	if err := k.gen.CommitOffsets(offsets); err != nil {
		if !errors.Is(err, kafka.RebalanceInProgress) && !errors.Is(err, kafka.IllegalGeneration) && !errors.Is(err, kafka.UnknownMemberId) {
			k.consumer.config.Report(fmt.Errorf("group %s: commit offsets: %w", k.gen.GroupID, err))
		}
		return
	}
	for _, p := range k.partitions {
		if offset, ok := offsets[p.place.topic][p.place.partition]; ok {
			p.mu.Lock()
			p.committed = offset
			p.mu.Unlock()
		}
	}
}

func (k *keeper) watch() {
	limit := k.consumer.config.HandleLimit
	for _, p := range k.partitions {
		p.mu.Lock()
		since := time.Since(p.handling)
		hang := !p.handling.IsZero() && since > limit && !p.told
		p.told = p.told || hang
		h := Hang{p.place.topic, p.place.partition, p.offset, since}
		p.mu.Unlock()
		if hang {
			k.consumer.config.OnHang(h)
		}
	}
}
