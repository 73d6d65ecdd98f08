package localstack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

const (
	postgresImage = "postgres:17"
	kafkaImage    = "apache/kafka:" + KafkaVersion

	postgresContainerPort = "5432/tcp"
	kafkaContainerPort    = "9092/tcp"

	// dockerProbeLimit bounds the question whether a Docker daemon is there.
	dockerProbeLimit = 5 * time.Second
	// dockerStartLimit bounds one container's start, its image's download
	// included.
	dockerStartLimit = 10 * time.Minute
)

// dockerAnswers asks the daemon itself: the command alone proves nothing.
func dockerAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, dockerProbeLimit)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "info").Run() == nil
}

// startDockerPostgres runs Postgres in a container. With a folder its data lies
// in a volume named after that folder, and its password in the folder.
func startDockerPostgres(ctx context.Context, dir string) (string, func(context.Context) error, error) {
	h, err := openHome(dir, "docker-postgres")
	if err != nil {
		return "", nil, err
	}
	password, err := keepPassword(h.file("password"), nil)
	if err != nil {
		return "", nil, errors.Join(err, h.close())
	}
	request := testcontainers.ContainerRequest{
		Image:        postgresImage,
		ExposedPorts: []string{postgresContainerPort},
		Env: map[string]string{
			"POSTGRES_USER": postgresUser, "POSTGRES_PASSWORD": password, "POSTGRES_DB": postgresDatabase,
		},
		Cmd: []string{"postgres", "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "timezone=UTC"},
		HostConfigModifier: func(hc *container.HostConfig) {
			bindLocal(hc, postgresContainerPort, 0)
			keepIn(hc, volumeOf(h, "postgres"), "/var/lib/postgresql/data")
		},
		// The image starts the server twice, the first time to set it up and deaf to
		// TCP: awaitPostgres below waits for the second.
		WaitingFor: wait.ForLog("database system is ready to accept connections").WithStartupTimeout(dockerStartLimit),
	}
	c, stop, err := startContainer(ctx, request, h)
	if err != nil {
		return "", nil, fmt.Errorf("start postgres in docker: %w", err)
	}
	addr, err := c.PortEndpoint(ctx, postgresContainerPort, "")
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("find the port of postgres in docker: %w", err), stop(ctx))
	}
	url := fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", postgresUser, password, addr, postgresDatabase)
	if err := awaitPostgres(ctx, url); err != nil {
		return "", nil, errors.Join(fmt.Errorf("start postgres in docker: %w", err), stop(ctx))
	}
	return url, stop, nil
}

// startDockerKafka runs Apache Kafka in a container. A broker tells clients where
// it is, so the port outside is chosen before it starts.
func startDockerKafka(ctx context.Context, dir string) (string, func(context.Context) error, error) {
	h, err := openHome(dir, "docker-kafka")
	if err != nil {
		return "", nil, err
	}
	outside, err := choosePort(0, h.file("port"))
	if err != nil {
		return "", nil, errors.Join(err, h.close())
	}
	defer outside.release()
	host, err := dockerHost(ctx)
	if err != nil {
		return "", nil, errors.Join(err, h.close())
	}
	addr := net.JoinHostPort(host, strconv.Itoa(outside.number))
	request := testcontainers.ContainerRequest{
		Image:        kafkaImage,
		ExposedPorts: []string{kafkaContainerPort},
		Env:          kafkaContainerEnv(addr),
		HostConfigModifier: func(hc *container.HostConfig) {
			bindLocal(hc, kafkaContainerPort, outside.number)
			keepIn(hc, volumeOf(h, "kafka"), "/var/lib/kafka/data")
		},
		WaitingFor: wait.ForLog("Kafka Server started").WithStartupTimeout(dockerStartLimit),
	}
	_, stop, err := startContainer(ctx, request, h)
	if err != nil {
		return "", nil, fmt.Errorf("start kafka in docker: %w", err)
	}
	if err := awaitKafka(ctx, addr); err != nil {
		return "", nil, errors.Join(fmt.Errorf("start kafka in docker: %w", err), stop(ctx))
	}
	return addr, stop, nil
}

// kafkaContainerEnv is the whole configuration: the image drops its defaults as
// soon as one setting is given.
func kafkaContainerEnv(advertised string) map[string]string {
	return map[string]string{
		"KAFKA_NODE_ID":                                  "1",
		"KAFKA_PROCESS_ROLES":                            "broker,controller",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":                 "1@localhost:9093",
		"KAFKA_LISTENERS":                                "PLAINTEXT://:9092,CONTROLLER://:9093",
		"KAFKA_ADVERTISED_LISTENERS":                     "PLAINTEXT://" + advertised,
		"KAFKA_CONTROLLER_LISTENER_NAMES":                "CONTROLLER",
		"KAFKA_INTER_BROKER_LISTENER_NAME":               "PLAINTEXT",
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":           "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"KAFKA_LOG_DIRS":                                 "/var/lib/kafka/data",
		"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                "false",
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         "1",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            "1",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":         "0",
	}
}

// startContainer runs the container; the returned stop ends it and gives the
// folder back.
func startContainer(ctx context.Context, request testcontainers.ContainerRequest, h *home) (testcontainers.Container, func(context.Context) error, error) {
	ctx, cancel := context.WithTimeout(ctx, dockerStartLimit)
	defer cancel()
	c, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{ContainerRequest: request, Started: true})
	if err != nil {
		if c != nil {
			err = errors.Join(err, testcontainers.TerminateContainer(c))
		}
		return nil, nil, errors.Join(err, h.close())
	}
	stop := func(ctx context.Context) error { return errors.Join(c.Terminate(ctx), h.close()) }
	return c, stop, nil
}

func dockerHost(ctx context.Context) (string, error) {
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return "", fmt.Errorf("reach docker: %w", err)
	}
	defer provider.Close()
	host, err := provider.DaemonHost(ctx)
	if err != nil {
		return "", fmt.Errorf("find docker's host: %w", err)
	}
	if host == "localhost" { // some systems answer that with IPv6 first, where nothing listens
		host = "127.0.0.1"
	}
	return host, nil
}

// bindLocal publishes the container's port: on this machine only, unless the
// daemon is on another. Number 0 means any.
func bindLocal(hc *container.HostConfig, inside nat.Port, number int) {
	ip := "127.0.0.1"
	if os.Getenv("DOCKER_HOST") != "" {
		ip = ""
	}
	outside := ""
	if number != 0 {
		outside = strconv.Itoa(number)
	}
	hc.PortBindings = nat.PortMap{inside: {{HostIP: ip, HostPort: outside}}}
}

// keepIn mounts a volume by bind, not as a mount: the library labels its mounts,
// and its sweeper deletes what is labelled.
func keepIn(hc *container.HostConfig, volume, path string) {
	if volume != "" {
		hc.Binds = append(hc.Binds, volume+":"+path)
	}
}

// volumeOf names the volume that belongs to a folder; none to a temporary one.
func volumeOf(h *home, kind string) string {
	if h.temp {
		return ""
	}
	return fmt.Sprintf("waybill-%s-%x", kind, sha256.Sum256([]byte(h.path)))[:len("waybill--")+len(kind)+12]
}
