package streamtest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill.internal/pkg/stream"
)

// BenchPublish measures publish with 64 callers, one message of 1 KiB a call.
func BenchPublish(b *testing.B, publish func(ctx context.Context, m stream.Message) error) {
	const callers = 64
	value := make([]byte, 1024)
	var next atomic.Int64
	var done sync.WaitGroup
	b.ResetTimer()
	for range callers {
		done.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				err := publish(ctx, stream.Message{Key: []byte{byte(n), byte(n >> 8)}, Value: value})
				cancel()
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
