package integration

import (
	"net"
	"regexp"
	"strings"
)

const maxTopicBytes = 249 // Kafka's own bound

func (b *builder) kafka(s *Source, at string) {
	if s.Name == "" {
		s.Name = "kafka"
	}
	k := s.Kafka
	at = join(at, "kafka")
	if k.Topic != "" && !topicName(k.Topic) {
		b.wrong(join(at, "topic"), "%q is no name of a topic; use letters, digits, dots, hyphens and underscores", shorten(k.Topic))
	}
	if k.Group == "" {
		k.Group = "waybill." + b.in.Name + "." + s.Name
	}
	if !topicName(k.Group) {
		b.wrong(join(at, "group"), "%q is no name of a group; use letters, digits, dots, hyphens and underscores", shorten(k.Group))
	}
	b.resolve(join(at, "brokers"), &k.Brokers)
	if k.Brokers == "" && (k.TLS || k.Login != nil) {
		b.wrong(at, "tls and login belong to another cluster; add brokers, or remove them: our own cluster is reached as WAYBILL_KAFKA_… says")
	}
	for _, broker := range strings.Split(k.Brokers, ",") {
		if _, port, err := net.SplitHostPort(broker); k.Brokers != "" && !strings.Contains(broker, "${") && (err != nil || port == "") {
			b.wrong(join(at, "brokers"), "%q is no broker; write host:port, several with commas", shorten(broker))
		}
	}
}

var topicForm = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func topicName(name string) bool {
	return len(name) <= maxTopicBytes && topicForm.MatchString(name) && name != "." && name != ".."
}
