package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"

	"waybill.internal/pkg/localstack"
	"waybill.internal/test/harness"
)

// The bare pipe is the yardstick: HTTP in, kafka-go's own Writer and Reader, HTTP
// out, and nothing that Waybill promises: no signature, no schema, no ledger, no
// receipt, no retry, no acknowledgement. It runs as a process of its own.
const (
	pipeName     = "bare pipe"
	pipeVariable = "WAYBILL_BENCH_PIPE" // holds the pipe's address, broker, topic and sink
	pipeLinger   = 5 * time.Millisecond
	pipeBatch    = 500
	pipeQueue    = 1000
)

// runPipe is the process; it ends with a signal or an error.
func runPipe(ctx context.Context, setting string) error {
	var address, broker, topic, sink string
	if _, err := fmt.Sscan(setting, &address, &broker, &topic, &sink); err != nil {
		return fmt.Errorf("%s: %w", pipeVariable, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	writer := &kafka.Writer{Addr: kafka.TCP(broker), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: pipeLinger, BatchSize: pipeBatch}
	server := &http.Server{Addr: address, ReadHeaderTimeout: stopLimit, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err == nil {
			err = writer.WriteMessages(r.Context(), kafka.Message{Value: raw})
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})}
	go func() { cancel(server.ListenAndServe()) }() // ends with Close below
	err := forward(ctx, broker, topic, sink)
	return errors.Join(err, server.Close(), writer.Close())
}

// forward posts what is on the topic to the sink, until ctx ends.
func forward(ctx context.Context, broker, topic, sink string) error {
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, Topic: topic, GroupID: topic, MaxWait: 500 * time.Millisecond,
		CommitInterval: time.Second, StartOffset: kafka.FirstOffset, QueueCapacity: pipeQueue})
	defer reader.Close()
	client := harness.Client(clients)
	messages := make(chan kafka.Message)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(messages)
	for range clients {
		workers.Go(func() {
			for m := range messages {
				resp, err := client.Post(sink, "application/json", bytes.NewReader(m.Value))
				if err != nil {
					continue // the run misses a record and says so
				}
				_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the connection is used again
				_ = resp.Body.Close()
				_ = reader.CommitMessages(ctx, m)
			}
		})
	}
	for {
		m, err := reader.FetchMessage(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		messages <- m
	}
}

// measurePipe sends a burst through a bare pipe.
func measurePipe(ctx context.Context, s *harness.Servers, topic string, records int) (sample Sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, confirmLimit)
	defer cancel()
	admin := &kafka.Client{Addr: kafka.TCP(s.Kafka.Addr())}
	if _, err := admin.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 3, ReplicationFactor: 1}}}); err != nil {
		return sample, fmt.Errorf("make topic %s: %w", topic, err)
	}
	sink, err := harness.NewThirdParty()
	if err != nil {
		return sample, err
	}
	defer sink.Close()
	address, release, err := localstack.ReservePort()
	if err != nil {
		return sample, err
	}
	defer release()
	self, err := os.Executable()
	if err != nil {
		return sample, err
	}
	command := exec.Command(self)
	command.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %s", pipeVariable, address, s.Kafka.Addr(), topic, sink.URL))
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return sample, err
	}
	defer func() {
		err = errors.Join(err, command.Process.Signal(syscall.SIGTERM))
		_ = command.Wait() // its status is that of the signal
	}()
	p := &pipeRun{servers: s, sink: sink, pid: command.Process.Pid, address: "http://" + address}
	if err := harness.Poll(ctx, func() (bool, error) { return dials(ctx, address), nil }); err != nil {
		return sample, fmt.Errorf("the bare pipe does not listen: %w", err)
	}
	if _, err := p.burst(ctx, "warm", warmUp); err != nil {
		return sample, err
	}
	return p.burst(ctx, "pipe", records)
}

type pipeRun struct {
	servers *harness.Servers
	sink    *harness.ThirdParty
	pid     int
	address string
	posted  int
}

func (p *pipeRun) burst(ctx context.Context, name string, records int) (Sample, error) {
	before, err := p.cpu()
	if err != nil {
		return Sample{}, err
	}
	start := time.Now()
	l := &load{name: name, records: records, size: smallBody, clients: clients, post: p.post}
	if err := l.run(ctx); err != nil {
		return Sample{}, fmt.Errorf("bare pipe: %w", err)
	}
	p.posted += records
	if err := harness.Poll(ctx, func() (bool, error) { return len(p.sink.Calls()) >= p.posted, nil }); err != nil {
		return Sample{}, fmt.Errorf("the bare pipe delivered %d of %d records: %w", len(p.sink.Calls()), p.posted, err)
	}
	took := time.Since(start)
	after, err := p.cpu()
	if err != nil {
		return Sample{}, err
	}
	s := Sample{Records: records, Seconds: took.Seconds(), CPU: map[string]float64{}, AcceptedPS: float64(records) / l.accepted.Seconds(),
		FinishedPS: float64(records) / took.Seconds(), P50: quantile(l.latency, 0.5), P99: quantile(l.latency, 0.99)}
	for process, t := range after {
		s.CPU[process] = (t - before[process]).Seconds()
	}
	return s, nil
}

func (p *pipeRun) cpu() (map[string]time.Duration, error) {
	own, err := harness.CPU(p.pid)
	if err != nil {
		return nil, err
	}
	broker, err := harness.TreeCPU(p.servers.Kafka.PID())
	return map[string]time.Duration{pipeName: own, "kafka": broker}, err
}

func (p *pipeRun) post(ctx context.Context, client *http.Client, e harness.Event) harness.Answer {
	a := harness.Answer{Event: e}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.address, bytes.NewReader(e.Body))
	if err != nil {
		a.Err = err
		return a
	}
	resp, err := client.Do(r)
	if err != nil {
		a.Err = err
		return a
	}
	defer resp.Body.Close()
	a.Status = resp.StatusCode
	a.Body, a.Err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return a
}

func dials(ctx context.Context, address string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
