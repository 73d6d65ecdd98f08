package stream_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"waybill.internal/pkg/stream/streamtest"
)

// embedded starts a Kafka in this process.
func embedded(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{
		kfake.NumBrokers(2), kfake.GroupMinSessionTimeout(time.Second),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestPromisesOnEmbeddedKafka(t *testing.T) {
	t.Parallel()
	streamtest.Run(t, embedded(t).ListenAddrs(), "embedded")
}

// WAYBILL_TEST_KAFKA=host:port,... runs the suite against a Kafka that is there.
func TestPromisesOnGivenKafka(t *testing.T) {
	t.Parallel()
	brokers := os.Getenv("WAYBILL_TEST_KAFKA")
	if brokers == "" {
		return // the module that starts a real Kafka calls streamtest.Run itself
	}
	streamtest.Run(t, strings.Split(brokers, ","), fmt.Sprintf("given-%d", time.Now().UnixNano()))
}
