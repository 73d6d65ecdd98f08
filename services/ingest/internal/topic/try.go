package topic

import (
	"context"
	"crypto/tls"
	"strings"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/stream"
)

// clusterOf gives the clients of the cluster that the topic is on: Waybill's own,
// unless the source names another.
func clusterOf(own *stream.Factory, k *integration.Kafka) (*stream.Factory, error) {
	if k.Brokers == "" {
		return own, nil
	}
	var secure *tls.Config
	if k.TLS {
		secure = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	var login *stream.SASL
	if l := k.Login; l != nil {
		login = &stream.SASL{Mechanism: l.Mechanism, User: l.Username, Password: l.Password.Reveal}
	}
	return own.Elsewhere(strings.Split(k.Brokers, ","), secure, login)
}

// Lag connects as the source would and tells how many messages its group has not
// done yet. It joins no group and moves no offset.
func Lag(ctx context.Context, own *stream.Factory, k *integration.Kafka) (int64, error) {
	factory, err := clusterOf(own, k)
	if err != nil {
		return 0, err
	}
	admin := factory.NewAdmin()
	defer admin.Close()
	lag, err := admin.Lag(ctx, k.Group, []string{k.Topic})
	return lag[k.Topic], err
}
