package localstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// embeddedPartitions is what a topic gets that names no number of partitions.
const embeddedPartitions = 3

// EmbeddedKafka is a Kafka broker inside this process. It is a test broker, not
// meant for production.
type EmbeddedKafka struct {
	cluster *kfake.Cluster
	home    *home // nil: in memory only
	port    *port
	stop    sync.Once
	stopErr error
}

// StartEmbeddedKafka starts a broker in this process, in milliseconds. With a
// folder every write is synced to it, and a later start finds it again; without
// one (dir is "") all lies in memory. Port 0 means any free one, remembered in
// the folder. Topics are never created by use.
func StartEmbeddedKafka(ctx context.Context, dir string, portNumber int) (*EmbeddedKafka, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start embedded kafka: %w", err)
	}
	e := &EmbeddedKafka{}
	if err := e.start(dir, portNumber); err != nil {
		return nil, errors.Join(fmt.Errorf("start embedded kafka: %w", err), e.giveBack())
	}
	return e, nil
}

func (e *EmbeddedKafka) start(dir string, portNumber int) (err error) {
	opts := []kfake.Opt{kfake.NumBrokers(1), kfake.DefaultNumPartitions(embeddedPartitions)}
	if dir == "" {
		opts = append(opts, kfake.Ports(portNumber)) // 0: the system chooses
		e.cluster, err = kfake.NewCluster(opts...)
		return err
	}
	if e.home, err = openHome(dir, "embedded-kafka"); err != nil {
		return err
	}
	if e.port, err = choosePort(portNumber, e.home.file("port")); err != nil {
		return err
	}
	opts = append(opts, kfake.Ports(e.port.number), kfake.DataDir(e.home.file("data")), kfake.SyncWrites(), kfake.ListenFn(listenAgain))
	e.cluster, err = kfake.NewCluster(opts...)
	return err
}

// listenAgain: looking whether the port is free has listened on it already.
func listenAgain(network, address string) (l net.Listener, err error) {
	err = ListenAgain(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// Addr is the broker's host:port.
func (e *EmbeddedKafka) Addr() string { return e.cluster.ListenAddrs()[0] }

// Stop ends the broker and its connections. It may be called again.
func (e *EmbeddedKafka) Stop() error {
	e.stop.Do(func() {
		e.cluster.Close()
		e.stopErr = e.giveBack()
	})
	return e.stopErr
}

func (e *EmbeddedKafka) giveBack() error {
	if e.home == nil {
		return nil
	}
	e.port.release()
	return e.home.close()
}
