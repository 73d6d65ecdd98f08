package command

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"waybill.internal/pkg/stream"
	"waybill.internal/services/waybill/internal/console"
)

// manyBehind is a lag worth a look; the ledger's backlog is what scaling follows.
const manyBehind = 100_000

func (e *examination) kafka() {
	lanes, delays := e.catalog.Lanes()
	config := e.config.Kafka
	config.ClientID = "waybill-doctor"
	config.Delays = delays
	factory, err := stream.NewFactory(config)
	if err != nil {
		e.find(wrong, "kafka settings", "mend the WAYBILL_KAFKA_ variables", "%v", err)
		return
	}
	admin := factory.NewAdmin()
	defer admin.Close()
	topics := factory.Topics()
	names := topics.All(lanes...)
	have, err := admin.Describe(e.ctx, names)
	if err != nil {
		e.find(silent, "kafka", "check WAYBILL_KAFKA_BROKERS, and that a broker runs; records are safe in the ledger meanwhile", "%s: %v", strings.Join(config.Brokers, ","), err)
		return
	}
	e.broker(config)
	e.topics(names, have)
	for _, lane := range lanes {
		e.lag(admin, topics.Group(lane), present(topics.OfLane(lane), have))
	}
	e.lag(admin, topics.ResultGroup(), present([]string{topics.Result()}, have))
	if held := present([]string{topics.Quarantine()}, have); len(held) > 0 {
		e.quarantine(admin, held)
	}
}

func present(names []string, have map[string]stream.Topic) []string {
	return slices.DeleteFunc(names, func(name string) bool { _, ok := have[name]; return !ok })
}

func (e *examination) broker(config stream.Config) {
	embedded, err := embeddedBroker(e.ctx, config)
	switch {
	case err != nil:
		e.find(warning, "kafka", "look at the broker's log", "%s answers, but does not name its cluster: %v", strings.Join(config.Brokers, ","), err)
	case embedded && e.production():
		e.find(wrong, "kafka", "point WAYBILL_KAFKA_BROKERS at an Apache Kafka", "this is the embedded test broker, and WAYBILL_ENVIRONMENT is production")
	case embedded:
		e.find(fine, "kafka", "", "answers; it is the embedded test broker, good for trying things and not for production")
	default:
		e.find(fine, "kafka", "", "answers at %s", strings.Join(config.Brokers, ","))
	}
}

func (e *examination) topics(names []string, have map[string]stream.Topic) {
	var missing, thin []string
	leaderless := 0
	for _, name := range names {
		t, ok := have[name]
		if !ok {
			missing = append(missing, name)
			continue
		}
		leaderless += t.Leaderless
		if t.Replication < e.config.Kafka.Replication || t.MinInsync != 0 && t.MinInsync < e.config.Kafka.MinInsync {
			thin = append(thin, fmt.Sprintf("%s (replication %d, min.insync.replicas %d)", name, t.Replication, t.MinInsync))
		}
	}
	if len(missing) > 0 {
		e.find(warning, "topics", "a service makes them when it starts or first uses them", "%d of %d are missing: %s", len(missing), len(names), strings.Join(missing, ", "))
	} else {
		e.find(fine, "topics", "", "all %d are there", len(names))
	}
	if len(thin) > 0 {
		e.find(wrong, "replication", "alter the topics, or the settings WAYBILL_KAFKA_REPLICATION and WAYBILL_KAFKA_MIN_INSYNC", "less than configured: %s", strings.Join(thin, ", "))
	}
	if leaderless > 0 {
		e.find(wrong, "partitions", "bring the missing brokers back", "%d without a leader", leaderless)
	}
	if e.production() && (e.config.Kafka.Replication < 3 || e.config.Kafka.MinInsync < 2) {
		e.find(warning, "replication", "set WAYBILL_KAFKA_REPLICATION=3 and WAYBILL_KAFKA_MIN_INSYNC=2", "is configured as %d with %d in sync; in production one broker's loss is to be expected",
			e.config.Kafka.Replication, e.config.Kafka.MinInsync)
	}
}

func (e *examination) lag(admin *stream.Admin, group string, topics []string) {
	if len(topics) == 0 {
		return
	}
	lag, err := admin.Lag(e.ctx, group, topics)
	if err != nil {
		e.find(warning, "lag", "look at the broker's log", "group %s: %v", group, err)
		return
	}
	var total int64
	var parts []string
	for _, topic := range slices.Sorted(maps.Keys(lag)) {
		if total += lag[topic]; lag[topic] > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", topic, console.Count(lag[topic])))
		}
	}
	level := fine
	if total > manyBehind {
		level = warning
	}
	said := "group " + group + " is up to date"
	if total > 0 {
		said = fmt.Sprintf("group %s has %s to read: %s", group, plural(total, "message", "messages"), strings.Join(parts, ", "))
	}
	e.find(level, "lag", "start more of the service, or see what holds it up: waybill tail -f", "%s", said)
}

func (e *examination) quarantine(admin *stream.Admin, topics []string) {
	starts, err := admin.Starts(e.ctx, topics)
	if err != nil {
		e.find(warning, "quarantine", "look at the broker's log", "%v", err)
		return
	}
	ends, err := admin.Ends(e.ctx, topics)
	if err != nil {
		e.find(warning, "quarantine", "look at the broker's log", "%v", err)
		return
	}
	var n int64
	for topic, partitions := range ends {
		for p, end := range partitions {
			n += end - starts[topic][p]
		}
	}
	level := fine
	if n > 0 {
		level = warning
	}
	e.find(level, "quarantine", "somebody else writes to our topics: read the quarantine topic with Kafka's console consumer", "%s that nobody could read", plural(n, "message", "messages"))
}
