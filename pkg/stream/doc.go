// Package stream is the Kafka edge: every topic, every message and every client
// setting of Waybill is here, and no other package talks to Kafka.
//
// Kafka is the fast path, the ledger is the truth. What this package promises is
// therefore small and exact:
//
//   - Publish returns without an error only when every message is acknowledged by
//     all in-sync replicas. An error means "unknown": the messages may be in the
//     topic, and the caller treats them as not published and sends them again.
//   - Messages of one key published one after the other stay in order, also
//     through retries, as long as the topic keeps its number of partitions.
//   - A Consumer hands every message to Handle at least once. A message is never
//     skipped: an error gives the same messages again. An offset is committed only
//     when Handle said its message is done, by the member that owns the partition.
//   - Where an offset no longer makes sense (retention, a recreated topic), reading
//     goes on from the earliest message, never from the latest.
//
// # Use
//
//	factory, err := stream.NewFactory(stream.Config{Brokers: []string{"localhost:9092"}, Prefix: "waybill"})
//	err = factory.Ensure(ctx, factory.Topics().All("main")...)
//	producer := factory.NewProducer(stream.ProducerConfig{})
//	ends, err := producer.Publish(ctx, factory.Topics().Work("main"), messages)
//
//	consumer, err := factory.NewConsumer(stream.ConsumerConfig{
//		Group: factory.Topics().Group("main"), Topics: factory.Topics().OfLane("main"), Handle: handle})
//	err = consumer.Run(ctx) // until ctx ends
//
// # How it works
//
// Producer (produce.go, batch.go) queues messages per partition and sends what a
// broker leads in one request, one request in flight per broker; while it is under
// way the next one fills. Consumer (consume.go, fetch.go, partition.go) joins a
// group with kafka-go's ConsumerGroup, and reads all partitions that one broker
// leads with one long poll, so that an idle consumer costs two requests a second
// per broker however many partitions it has. Each partition has one goroutine that
// calls Handle.
//
// Whoever embeds this package ends it by the context given to Run and by Close:
// no goroutine outlives them.
package stream
