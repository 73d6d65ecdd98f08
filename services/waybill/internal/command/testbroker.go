package command

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill.internal/pkg/stream"
)

const (
	// embeddedCluster is the cluster id of localstack's embedded broker.
	embeddedCluster  = "kfake"
	brokerLimit      = 5 * time.Second
	maxMetadataBytes = 1 << 20
)

// embeddedBroker reports whether the first broker that answers is the embedded
// one. That one speaks neither TLS nor SASL, so a broker that does is not asked.
func embeddedBroker(ctx context.Context, config stream.Config) (bool, error) {
	if config.TLS != nil || config.SASL != nil {
		return false, nil
	}
	var failed []error
	for _, address := range config.Brokers {
		id, err := clusterID(ctx, address)
		if err == nil {
			return id == embeddedCluster, nil
		}
		failed = append(failed, fmt.Errorf("%s: %w", address, err))
	}
	return false, errors.Join(failed...)
}

// clusterID asks one broker for its metadata, without any topic.
func clusterID(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline() // there is one: brokerLimit
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	request := kmsg.NewPtrMetadataRequest()
	request.Version = 4 // not flexible, so that the answer's header is a correlation id only
	request.Topics = []kmsg.MetadataRequestTopic{}
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("waybill-doctor")).AppendRequest(nil, request, 1)); err != nil {
		return "", err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return "", err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxMetadataBytes {
		return "", fmt.Errorf("an answer of %d bytes is none of Kafka's", n)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return "", err
	}
	response := kmsg.NewPtrMetadataResponse()
	response.Version = request.Version
	if err := response.ReadFrom(answer[4:]); err != nil {
		return "", fmt.Errorf("read the metadata: %w", err)
	}
	if response.ClusterID == nil {
		return "", nil
	}
	return *response.ClusterID, nil
}
