package groupcommit

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Rates, in items a second, between which the least interval between flushes
// goes from Config.LowInterval (0) to Config.Interval. Around 500 items a second each small batch
// would otherwise wake a whole machine for one or two items.
const (
	LowRate  = 50.0
	HighRate = 500.0
)

// MaxInterval is the longest least interval between flushes.
const MaxInterval = time.Second

// Answers of a Group that hold no commit's result.
var (
	// ErrFull: the queue has no room. The caller answers 503 and Retry-After.
	ErrFull = errors.New("group commit: the queue is full")
	// ErrTooLarge: the item alone is larger than a batch may be.
	ErrTooLarge = errors.New("group commit: the item is larger than a batch may be")
	// ErrClosed: the group takes nothing any more, or was stopped before the
	// item's batch began.
	ErrClosed = errors.New("group commit: closed")
	// ErrNotStarted comes along with a context's error when the item was still
	// waiting: it was taken out and will not be committed.
	ErrNotStarted = errors.New("group commit: the item was still waiting and is not committed")
)

// Config of a Group. Zero values take the defaults given.
type Config[T, R any] struct {
	// Commit makes a batch durable and returns one result per item, in order.
	// It must return soon after ctx ends. Required.
	Commit func(ctx context.Context, items []T) ([]R, error)
	// Size tells an item's bytes. Nil: items have no bytes, the byte bounds do nothing.
	Size func(T) int

	MaxItems      int           // of a batch; 500
	MaxBytes      int           // of a batch; 4 MiB
	QueueItems    int           // waiting; 20 * MaxItems
	QueueBytes    int           // waiting; 16 * MaxBytes
	Interval      time.Duration // the least interval at HighRate and above; 5 ms; negative: none
	LowInterval   time.Duration // the least interval at LowRate and below; 0; for items that no sender waits for it may be the longer one
	Linger        time.Duration // how long a worker that has found something waiting waits for what comes at the same time; 0
	CommitTimeout time.Duration // of one call of Commit; 5 s
	Workers       int           // batches under way at once; 1
}

func (c Config[T, R]) withDefaults() (Config[T, R], error) {
	if c.Commit == nil {
		return c, errors.New("group commit: Config.Commit is missing")
	}
	if c.Size == nil {
		c.Size = func(T) int { return 0 }
	}
	// In this order: the queue's defaults follow from the batch's bounds.
	for _, field := range []struct {
		name  string
		value *int
		def   func() int
	}{
		{"MaxItems", &c.MaxItems, func() int { return 500 }},
		{"MaxBytes", &c.MaxBytes, func() int { return 4 << 20 }},
		{"QueueItems", &c.QueueItems, func() int { return 20 * c.MaxItems }},
		{"QueueBytes", &c.QueueBytes, func() int { return 16 * c.MaxBytes }},
		{"Workers", &c.Workers, func() int { return 1 }},
	} {
		if *field.value == 0 {
			*field.value = field.def()
		}
		if *field.value < 0 {
			return c, fmt.Errorf("group commit: Config.%s is %d; give at least 1, or 0 for the default", field.name, *field.value)
		}
	}
	if c.QueueBytes < c.MaxBytes {
		return c, fmt.Errorf("group commit: Config.QueueBytes %d is below MaxBytes %d; a full batch must fit the queue", c.QueueBytes, c.MaxBytes)
	}
	return c.withTimes()
}

func (c Config[T, R]) withTimes() (Config[T, R], error) {
	switch {
	case c.Interval == 0:
		c.Interval = 5 * time.Millisecond
	case c.Interval < 0:
		c.Interval = 0
	case c.Interval > MaxInterval:
		return c, fmt.Errorf("group commit: Config.Interval is %s; give at most %s", c.Interval, MaxInterval)
	}
	if c.LowInterval < 0 || c.LowInterval > MaxInterval {
		return c, fmt.Errorf("group commit: Config.LowInterval is %s; give 0 to %s", c.LowInterval, MaxInterval)
	}
	if c.Linger < 0 || c.Linger > MaxInterval {
		return c, fmt.Errorf("group commit: Config.Linger is %s; give 0 to %s", c.Linger, MaxInterval)
	}
	if c.CommitTimeout == 0 {
		c.CommitTimeout = 5 * time.Second
	}
	if c.CommitTimeout < 0 {
		return c, fmt.Errorf("group commit: Config.CommitTimeout is %s; give a duration above 0", c.CommitTimeout)
	}
	return c, nil
}
