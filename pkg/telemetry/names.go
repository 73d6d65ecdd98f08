package telemetry

// Metric is the name of a metric. The list below is complete: a Registry makes
// no other.
type Metric string

// The metrics, in the order of a record's journey.
const (
	Arrivals         Metric = "waybill_arrivals_total"
	PollRuns         Metric = "waybill_poll_runs_total"
	PollMissed       Metric = "waybill_poll_missed_total"
	AcceptSeconds    Metric = "waybill_accept_seconds"
	CommitBatch      Metric = "waybill_group_commit_items"
	QueueItems       Metric = "waybill_group_commit_waiting"
	Published        Metric = "waybill_published_total"
	Claims           Metric = "waybill_claims_total"
	LostClaims       Metric = "waybill_claims_lost_total"
	StepSeconds      Metric = "waybill_step_seconds"
	Settled          Metric = "waybill_settled_total"
	Failures         Metric = "waybill_failures_total"
	CallSeconds      Metric = "waybill_call_seconds"
	Redriven         Metric = "waybill_redriven_total"
	Quarantined      Metric = "waybill_quarantined_total"
	OutcomesSent     Metric = "waybill_outcomes_sent_total"
	Acknowledged     Metric = "waybill_acknowledged_total"
	Unaccounted      Metric = "waybill_unaccounted"
	RecordsInState   Metric = "waybill_records"
	OldestSeconds    Metric = "waybill_oldest_unfinished_seconds"
	AlertsRaised     Metric = "waybill_alerts_total"
	BuildInfo        Metric = "waybill_build_info"
	InvariantsBroken Metric = "waybill_invariants_broken_total"
)

// Kind of a metric.
type metricKind uint8

const (
	counter metricKind = iota
	gauge
	histogram
)

type definition struct {
	name   Metric
	kind   metricKind
	help   string
	labels []string
}

func definitions() []definition {
	return []definition{
		{Arrivals, counter, "Arrivals by answer: received, duplicate, refused or unavailable.", []string{"integration", "source", "answer"}},
		{PollRuns, counter, "Runs of polled sources by result: done, or failed and tried again.", []string{"integration", "source", "result"}},
		{PollMissed, counter, "Webhooks that had not arrived and were found by a poll; source is the webhook's.", []string{"integration", "source"}},
		{AcceptSeconds, histogram, "From a request's arrival to its receipt.", []string{"integration"}},
		{CommitBatch, histogram, "Items of one group commit.", []string{"group"}},
		{QueueItems, gauge, "Items waiting for a group commit.", []string{"group"}},
		{Published, counter, "Messages acknowledged by Kafka.", []string{"topic"}},
		{Claims, counter, "Records claimed.", []string{"integration", "lane"}},
		{LostClaims, counter, "Claims whose session lapsed before they ended.", []string{"integration"}},
		{StepSeconds, histogram, "Duration of a step.", []string{"integration", "step"}},
		{Settled, counter, "Attempts ended, by the state they led to.", []string{"integration", "state"}},
		{Failures, counter, "Failed attempts by class and code.", []string{"integration", "class", "code"}},
		{CallSeconds, histogram, "Duration of a call to a third party.", []string{"destination", "status"}},
		{Redriven, counter, "Records sent out again by the re-driver.", []string{"reason"}},
		{Quarantined, counter, "Messages that could not be read.", []string{"topic"}},
		{OutcomesSent, counter, "Final statuses sent to a partner, by result of the try.", []string{"integration", "result"}},
		{Acknowledged, counter, "Final statuses confirmed by a partner.", []string{"integration"}},
		{Unaccounted, gauge, "Records that the conservation check misses; 0 when nothing is lost.", []string{"integration"}},
		{RecordsInState, gauge, "Records in a state.", []string{"integration", "state"}},
		{OldestSeconds, gauge, "Age of the oldest record that is neither final nor parked.", []string{"integration"}},
		{AlertsRaised, counter, "Problems raised, before rate limiting.", []string{"kind"}},
		{BuildInfo, gauge, "1, with the service and its version as labels.", []string{"service", "version"}},
		{InvariantsBroken, counter, "Assertions that did not hold.", []string{"name"}},
	}
}

// The log fields. Use these keys and no others for these things.
const (
	FieldService     = "service"
	FieldPart        = "part"
	FieldIntegration = "integration"
	FieldSource      = "source"
	FieldRecord      = "record"
	FieldTrackingID  = "tracking_id"
	FieldEntityKey   = "entity_key"
	FieldState       = "state"
	FieldFence       = "fence"
	FieldAttempt     = "attempt"
	FieldStep        = "step"
	FieldDestination = "destination"
	FieldClass       = "class"
	FieldCode        = "code"
	FieldKind        = "kind"
	FieldCount       = "count"
	FieldRepair      = "repair"
	FieldTopic       = "topic"
	FieldPartition   = "partition"
	FieldOffset      = "offset"
	FieldAddress     = "address"
	FieldDuration    = "duration"
	FieldSession     = "session"
	FieldRecords     = "records"
	FieldWhere       = "where"
	FieldReason      = "reason"
)
