package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

const (
	dialTimeout = 5 * time.Second
	// metadataTTL bounds how long a client believes an old leader when nothing
	// fails; a failure refreshes at once.
	metadataTTL = 5 * time.Second

	defaultPartitions = 3
	// MaxMessageBytes bounds one message (key, value and headers) of Publish: a body
	// of 1 MiB in a dead letter, and room for its headers.
	MaxMessageBytes = 1<<20 + 64<<10
	// topicMaxMessageBytes is what Ensure tells the broker to take in one batch.
	topicMaxMessageBytes = 2 << 20
)

// Config says where Kafka is and how topics are made. The zero value of a number
// takes its default.
type Config struct {
	// Brokers to ask first, "host:port".
	Brokers []string
	// Prefix of every topic and group.
	Prefix string
	// Delays of the retry topics, rising; default DefaultDelays.
	Delays []time.Duration
	// ClientID tells brokers and their logs who we are.
	ClientID string
	// TLS, nil for a plain connection.
	TLS *tls.Config
	// SASL, nil for no authentication.
	SASL *SASL

	// Replication of topics that Ensure makes; default 1, production 3.
	Replication int
	// MinInsync is min.insync.replicas of topics that Ensure makes; default 1, production 2.
	MinInsync int
	// Partitions of topics that Ensure makes; default 3. Every partition costs requests.
	Partitions int

	// Dial opens connections; nil is net.Dialer. Tests put faults here.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// SASL authenticates every connection.
type SASL struct {
	// Mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
	Mechanism string
	User      string
	// Password is asked for at every new connection, so that a rotated secret is
	// taken up without a restart.
	Password func() (string, error)
}

// Factory makes every Kafka client of a process with the same brokers, TLS and SASL.
type Factory struct {
	config Config
	topics Topics
	sasl   sasl.Mechanism
}

// Elsewhere is a factory for topics of another cluster, which has its own
// addresses, TLS and SASL; all else is as here.
func (f *Factory) Elsewhere(brokers []string, secure *tls.Config, login *SASL) (*Factory, error) {
	config := f.config
	config.Brokers, config.TLS, config.SASL = brokers, secure, login
	return NewFactory(config)
}

// NewFactory checks the configuration; it does not connect.
func NewFactory(config Config) (*Factory, error) {
	if len(config.Brokers) == 0 {
		return nil, errors.New("kafka: no broker is named; give at least one host:port")
	}
	for _, b := range config.Brokers {
		if _, port, err := net.SplitHostPort(b); err != nil || port == "" {
			return nil, fmt.Errorf("kafka: broker %q is not host:port", b)
		}
	}
	if config.Delays == nil {
		config.Delays = DefaultDelays()
	}
	topics := Topics{Prefix: config.Prefix, Delays: config.Delays}
	if err := topics.validate(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	for _, n := range []struct {
		name  string
		value *int
		def   int
		max   int
	}{
		{"replication", &config.Replication, 1, 9},
		{"min.insync.replicas", &config.MinInsync, 1, 9},
		{"partitions", &config.Partitions, defaultPartitions, 1000},
	} {
		if *n.value == 0 {
			*n.value = n.def
		}
		if *n.value < 1 || *n.value > n.max {
			return nil, fmt.Errorf("kafka: %s is %d, must be 1 to %d", n.name, *n.value, n.max)
		}
	}
	if config.MinInsync > config.Replication {
		return nil, fmt.Errorf("kafka: min.insync.replicas %d is more than replication %d: no message could ever be written", config.MinInsync, config.Replication)
	}
	if config.ClientID == "" {
		config.ClientID = "waybill"
	}
	f := &Factory{config: config, topics: topics}
	if config.SASL != nil {
		if err := config.SASL.validate(); err != nil {
			return nil, err
		}
		f.sasl = lateSASL{*config.SASL}
	}
	return f, nil
}

// Topics names the installation's topics and groups.
func (f *Factory) Topics() Topics { return f.topics }

func (f *Factory) address() net.Addr { return kafka.TCP(f.config.Brokers...) }

// dialer and transport are the two ways kafka-go connects (groups use the first,
// everything else the second); both get everything from the one Config.
func (f *Factory) dialer() *kafka.Dialer {
	return &kafka.Dialer{
		ClientID: f.config.ClientID, Timeout: dialTimeout, DualStack: true,
		DialFunc: f.config.Dial, TLS: f.config.TLS, SASLMechanism: f.sasl,
	}
}

func (f *Factory) transport() *kafka.Transport {
	return &kafka.Transport{
		ClientID: f.config.ClientID, DialTimeout: dialTimeout, MetadataTTL: metadataTTL,
		Dial: f.config.Dial, TLS: f.config.TLS, SASL: f.sasl,
	}
}

func (s SASL) validate() error {
	if _, err := s.mechanism("x"); err != nil {
		return err
	}
	if s.User == "" || s.Password == nil {
		return errors.New("kafka: SASL needs a user and a password")
	}
	return nil
}

func (s SASL) mechanism(password string) (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "PLAIN":
		return plain.Mechanism{Username: s.User, Password: password}, nil
	case "SCRAM-SHA-256":
		return scram.Mechanism(scram.SHA256, s.User, password)
	case "SCRAM-SHA-512":
		return scram.Mechanism(scram.SHA512, s.User, password)
	}
	return nil, fmt.Errorf("kafka: SASL mechanism %q is not known; use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
}

// lateSASL resolves the password when a connection authenticates.
type lateSASL struct{ SASL }

func (l lateSASL) Name() string { return l.Mechanism }

func (l lateSASL) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	password, err := l.Password()
	if err != nil {
		return nil, nil, fmt.Errorf("kafka: password of SASL user %s: %w", l.User, err)
	}
	mechanism, err := l.mechanism(password)
	if err != nil {
		return nil, nil, err
	}
	return mechanism.Start(ctx)
}

// Brokers are the brokers asked first.
func (f *Factory) Brokers() []string { return append([]string(nil), f.config.Brokers...) }
