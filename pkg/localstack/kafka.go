package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	defaultHeapMB = 512
	minHeapMB     = 128
	maxHeapMB     = 16 << 10
	// kafkaStartLimit bounds one start, format and log recovery included; a
	// nearer deadline of the caller's context wins.
	kafkaStartLimit = 2 * time.Minute
	// kafkaStopLimit bounds one stop before the broker is killed.
	kafkaStopLimit = 30 * time.Second
)

// KafkaOptions say how to start an Apache Kafka. The zero value is good.
type KafkaOptions struct {
	// Dir holds data, settings, log and ports. A folder used before is used again
	// with its data. Empty means a temporary one, deleted by Stop.
	Dir string
	// Port for clients, on 127.0.0.1. 0 means any free one, remembered in Dir.
	// The controller always takes a free one of its own.
	Port int
	// HeapMB is the Java heap in MiB, 128 to 16384; 0 means 512.
	HeapMB int
}

// Kafka is a running Apache Kafka of one broker. Topics are never created by
// use. Its methods may be called from any goroutine, one at a time runs.
type Kafka struct {
	opts       KafkaOptions
	home       *home
	client     *port
	controller *port
	java       string
	classpath  string

	mu   sync.Mutex
	proc *process // nil while stopped or killed
}

// StartKafka starts an Apache Kafka and returns when it answers metadata
// requests. It needs Java 17 or later and, the first time, Maven. The start takes
// at most two minutes, fetching aside, less when ctx ends earlier; ctx does not
// end the broker later. When it fails nothing is left running.
func StartKafka(ctx context.Context, opts KafkaOptions) (*Kafka, error) {
	if opts.HeapMB == 0 {
		opts.HeapMB = defaultHeapMB
	}
	if opts.HeapMB < minHeapMB || opts.HeapMB > maxHeapMB {
		return nil, fmt.Errorf("start kafka: HeapMB is %d: want 0 (the default, %d) or %d to %d", opts.HeapMB, defaultHeapMB, minHeapMB, maxHeapMB)
	}
	k := &Kafka{opts: opts}
	if err := k.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start kafka: %w", err), k.giveBack())
	}
	if err := k.start(ctx); err != nil {
		return nil, errors.Join(err, k.giveBack())
	}
	return k, nil
}

func (k *Kafka) prepare(ctx context.Context) (err error) {
	if k.java, err = findJava(ctx); err != nil {
		return err
	}
	if k.classpath, err = FetchKafka(ctx); err != nil {
		return err
	}
	if k.home, err = openHome(k.opts.Dir, "kafka"); err != nil {
		return err
	}
	if k.client, err = choosePort(k.opts.Port, k.home.file("port")); err != nil {
		return err
	}
	k.controller, err = choosePort(0, k.home.file("controller-port"))
	return err
}

// Addr is the broker's host:port.
func (k *Kafka) Addr() string { return k.client.addr() }

// PID is the broker's process id, 0 while none runs.
func (k *Kafka) PID() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proc == nil || !k.proc.alive() {
		return 0
	}
	return k.proc.pid()
}

// Stop ends the broker in good order. It may be called again, and after Kill; no
// other method may be called after it.
func (k *Kafka) Stop(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return errors.Join(k.halt(ctx), k.giveBack())
}

// Kill ends the broker at once (SIGKILL). The next start recovers its log.
func (k *Kafka) Kill(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.proc == nil {
		return fmt.Errorf("kill kafka: %w", errNotRunning)
	}
	err := k.proc.killAll()
	k.proc = nil
	if err != nil {
		return fmt.Errorf("kill kafka %s: %w", k.home.path, err)
	}
	return nil
}

// Restart stops the broker if it runs, and starts it on the same port and data.
func (k *Kafka) Restart(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.home == nil {
		return errors.New("restart kafka: it was stopped for good: start another")
	}
	if err := k.halt(ctx); err != nil {
		return err
	}
	return k.start(ctx)
}

// Wipe ends the broker, deletes every topic, offset and group with it, formats
// its folder anew and starts it on the same port.
func (k *Kafka) Wipe(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.home == nil {
		return errors.New("wipe kafka: it was stopped for good: start another")
	}
	if k.proc != nil { // its data goes anyway: no reason to close it in good order
		if err := k.proc.killAll(); err != nil {
			return fmt.Errorf("wipe kafka %s: %w", k.home.path, err)
		}
		k.proc = nil
	}
	if err := os.RemoveAll(k.home.file("data")); err != nil {
		return fmt.Errorf("wipe kafka: %w", err)
	}
	return k.start(ctx)
}

// Pause freezes the broker (SIGSTOP): connections stay open and nothing answers.
func (k *Kafka) Pause() error { return k.onProcess("pause", (*process).pause) }

// Resume undoes Pause. On a broker that is not paused it does nothing.
func (k *Kafka) Resume() error { return k.onProcess("resume", (*process).resume) }

func (k *Kafka) onProcess(act string, do func(*process) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := errNotRunning
	if k.proc != nil && k.proc.alive() {
		err = do(k.proc)
	}
	if err != nil {
		return fmt.Errorf("%s kafka: %w", act, err)
	}
	return nil
}

// halt stops the broker if it runs; mu is held.
func (k *Kafka) halt(ctx context.Context) error {
	if k.proc == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaStopLimit)
	defer cancel()
	err := k.proc.end(ctx, syscall.SIGTERM)
	k.proc = nil
	if err != nil {
		return fmt.Errorf("stop kafka %s: %w", k.home.path, err)
	}
	return nil
}

// giveBack releases ports and folder, once.
func (k *Kafka) giveBack() error {
	if k.home == nil {
		return nil
	}
	k.client.release()
	k.controller.release()
	err := k.home.close()
	k.home = nil
	return err
}

// start formats the folder if need be and runs the broker until it answers; mu is
// held, or nobody else knows k yet.
func (k *Kafka) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, kafkaStartLimit)
	defer cancel()
	if err := k.writeSettings(); err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	if err := k.format(ctx); err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	proc, err := startProcess(processSpec{
		path: k.java,
		args: append(k.javaArgs(k.opts.HeapMB), "kafka.Kafka", k.home.file("server.properties")),
		dir:  k.home.path,
		log:  k.home.file("kafka.log"),
		// A broker in good order takes a while to end, and its data outlives
		// SIGKILL: nothing is gained by asking politely.
		onExit: syscall.SIGKILL,
	})
	if err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	if err := k.await(ctx, proc); err != nil {
		return errors.Join(fmt.Errorf("start kafka on %s: %w; its log ends:\n%s", k.Addr(), err, proc.logTail()), proc.killAll())
	}
	k.proc = proc
	return nil
}

// javaArgs are for a small, short-lived broker: quick to start rather than fast
// in the long run.
func (k *Kafka) javaArgs(heapMB int) []string {
	return []string{
		"-Xmx" + strconv.Itoa(heapMB) + "m",
		"-XX:+UseSerialGC",
		"-XX:TieredStopAtLevel=1",
		"-XX:+ExitOnOutOfMemoryError",
		"-Xshare:auto",
		"-Djava.awt.headless=true",
		"-Dlog4j2.configurationFile=" + k.home.file("log4j2.properties"),
		"-cp", k.classpath,
	}
}
