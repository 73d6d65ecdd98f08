package localstack

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	formatHeapMB = 128
	// probeLimit bounds one metadata request of the start.
	probeLimit = 3 * time.Second
)

// serverProperties is the broker's configuration; the verbs are client port,
// controller port and data folder. What is not obvious:
//   - broker.session.timeout.ms: a broker that was killed is let in again only
//     when its last session has lapsed; the default of 9 s makes a restart slow.
//   - log.cleaner.dedupe.buffer.size: the default takes 128 MB of the heap.
//   - the thread counts suit a machine that runs everything else as well.
const serverProperties = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,CONTROLLER://127.0.0.1:%[2]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=%[3]s
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
num.partitions=3
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
background.threads=4
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
`

const logSettings = `rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
`

func (k *Kafka) writeSettings() error {
	data := strings.ReplaceAll(k.home.file("data"), `\`, `\\`) // an escape in a properties file
	server := fmt.Sprintf(serverProperties, k.client.number, k.controller.number, data)
	if err := os.WriteFile(k.home.file("server.properties"), []byte(server), 0o644); err != nil {
		return fmt.Errorf("write kafka's settings: %w", err)
	}
	if err := os.WriteFile(k.home.file("log4j2.properties"), []byte(logSettings), 0o644); err != nil {
		return fmt.Errorf("write kafka's log settings: %w", err)
	}
	return nil
}

// format gives an empty folder a cluster id, by Kafka's own tool. The id is that
// of a new cluster each time, as after a real loss.
func (k *Kafka) format(ctx context.Context) error {
	if _, err := os.Stat(k.home.file("data", "meta.properties")); err == nil {
		return nil
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	args := append(k.javaArgs(formatHeapMB), "kafka.tools.StorageTool", "format",
		"--cluster-id", clusterID(id), "--config", k.home.file("server.properties"))
	cmd := exec.CommandContext(ctx, k.java, args...)
	cmd.Dir = k.home.path
	cmd.SysProcAttr = childAttributes(nil, 0)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("format %s: %w:\n%s", k.home.file("data"), err, out)
	}
	return nil
}

// clusterID writes an id the way Kafka does. It may not begin with a dash: the
// tool would take it for an option.
func clusterID(id [16]byte) string {
	id[0] &= 0x7f // the alphabet's last two characters are '-' and '_'
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// await returns when the broker answers metadata requests and names a leader for
// every partition, or with the reason why it will not. A leader is named shortly
// before it serves: a client still repeats a request refused in between.
func (k *Kafka) await(ctx context.Context, proc *process) error {
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		err := answers(ctx, k.Addr())
		if err == nil {
			return nil
		}
		select {
		case <-proc.done:
			return fmt.Errorf("it ended: %v", proc.err)
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// answers asks once for the brokers and all partitions. A dialled connection is
// used because the client's pool would leave goroutines behind.
func answers(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	conn, err := (&kafka.Dialer{Timeout: probeLimit}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	brokers, err := conn.Brokers()
	if err != nil {
		return err
	}
	if len(brokers) == 0 {
		return errors.New("the broker has not joined its cluster yet")
	}
	if _, err := conn.Controller(); err != nil {
		return err
	}
	partitions, err := conn.ReadPartitions()
	if err != nil {
		return err
	}
	for _, p := range partitions {
		if p.Error != nil || p.Leader.Host == "" {
			return fmt.Errorf("partition %d of %s has no leader yet", p.ID, p.Topic)
		}
	}
	return nil
}

// findJava names the java to use, after checking that it is new enough.
func findJava(ctx context.Context) (string, error) {
	path, err := exec.LookPath("java")
	if home := os.Getenv("JAVA_HOME"); home != "" {
		path, err = exec.LookPath(filepath.Join(home, "bin", "java"))
	}
	if err != nil {
		return "", fmt.Errorf("kafka needs Java %d or later: install openjdk-17-jre-headless: %w", minJava, err)
	}
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w:\n%s", path, err, out)
	}
	major, err := javaMajor(string(out))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if major < minJava {
		return "", fmt.Errorf("%s is Java %d, kafka needs %d or later: install openjdk-17-jre-headless", path, major, minJava)
	}
	return path, nil
}
