package integration

import "time"

// Source is one way in; exactly one of its kinds is set.
type Source struct {
	Name           string   `json:"name,omitempty" pattern:"name" doc:"The name of the source; the default is its kind."`
	Webhook        *Webhook `json:"webhook,omitempty" doc:"Events posted over HTTP."`
	File           *File    `json:"file,omitempty" doc:"Files that the partner leaves somewhere."`
	Poll           *Poll    `json:"poll,omitempty" doc:"A partner's API that is asked for what is new."`
	Kafka          *Kafka   `json:"kafka,omitempty" doc:"An existing Kafka topic of our own systems."`
	IdempotencyKey *Expr    `json:"idempotency_key,omitempty" doc:"Identity of the event; wins over record.idempotency_key."`
}

func (s *Source) kinds() int {
	n := 0
	for _, set := range []bool{s.Webhook != nil, s.File != nil, s.Poll != nil, s.Kafka != nil} {
		if set {
			n++
		}
	}
	return n
}

// Expect gives the expectation of whichever kind is set; the zero Expectation means that silence is no alert.
func (s *Source) Expect() Expectation {
	switch {
	case s.Webhook != nil:
		return s.Webhook.Expect
	case s.File != nil:
		return s.File.Expect
	case s.Poll != nil:
		return s.Poll.Expect
	case s.Kafka != nil:
		return s.Kafka.Expect
	}
	return Expectation{}
}

// Kafka is a source of messages on an existing topic.
type Kafka struct {
	Topic   string      `json:"topic" jsonschema:"required" doc:"The topic; it must exist, Waybill does not make it."`
	Group   string      `json:"group,omitempty" doc:"The consumer group; the default is waybill.<integration>.<source>."`
	Brokers string      `json:"brokers,omitempty" doc:"Where the topic is, if not on Waybill's own cluster: host:port, several with commas; ${NAME:-default} is replaced."`
	TLS     bool        `json:"tls,omitempty" doc:"With brokers: whether to speak TLS."`
	Login   *KafkaLogin `json:"login,omitempty" doc:"With brokers: how we log in (SASL)."`
	Expect  Expectation `json:"expect,omitempty" doc:"Alert when nothing came: a duration such as 24h, or a cron expression after each run of which something must have come."`
}

// KafkaLogin is how we log in to another cluster.
type KafkaLogin struct {
	Mechanism string `json:"mechanism" jsonschema:"default=SCRAM-SHA-512,enum=PLAIN,enum=SCRAM-SHA-256,enum=SCRAM-SHA-512" doc:"The SASL mechanism."`
	Username  string `json:"username" jsonschema:"required" doc:"The user name."`
	Password  Secret `json:"password" jsonschema:"required" doc:"A reference to the password."`
}

// Poll is a source that asks a partner's API for what is new. Every item is a record.
type Poll struct {
	URL          string            `json:"url" jsonschema:"required" doc:"The address; ${NAME:-default} is replaced. What query names is added to it."`
	Method       string            `json:"method" jsonschema:"default=GET,enum=GET,enum=POST" doc:"The method of the request."`
	Query        map[string]Expr   `json:"query,omitempty" doc:"Parameters of the address, each an expression over since, until, cursor, page and offset; a null one is left out. A text is written in quotes of its own: '\"asc\"'."`
	Headers      map[string]string `json:"headers,omitempty" doc:"Headers that are sent; no secrets."`
	Body         *Field            `json:"body,omitempty" doc:"The JSON body of a POST, made of the same names."`
	Auth         *Auth             `json:"auth,omitempty" doc:"How we prove who we are."`
	Items        string            `json:"items" doc:"JSON pointer of the list in the answer, such as /data; without it the answer is the list."`
	Where        *Expr             `json:"where,omitempty" doc:"Which items are taken: a condition over item, such as item.event != \"ping\"; the others are left out."`
	Next         Next              `json:"next" doc:"How the next page is found."`
	Since        *Since            `json:"since,omitempty" doc:"What is asked for: only what changed since the last time."`
	Detail       *Detail           `json:"detail,omitempty" doc:"A second request for each item that is not known yet, where the list gives no more than a summary."`
	Missed       *Missed           `json:"missed,omitempty" doc:"This poll looks for webhooks that never arrived."`
	Every        Cadence           `json:"every" jsonschema:"default=10m" doc:"How often: a duration such as 10m, or a cron expression of five fields."`
	Timezone     string            `json:"timezone" jsonschema:"default=UTC" doc:"The time zone of a cron expression."`
	Rate         Rate              `json:"rate,omitempty" doc:"Requests in a time, for example 2/s, those of backfills and details among them; without it there is no limit."`
	Timeout      time.Duration     `json:"timeout" jsonschema:"default=30s" min:"10ms" max:"10m" doc:"The time one request may take."`
	MaxPages     int               `json:"max_pages" jsonschema:"default=1000,minimum=1,maximum=100000" doc:"Pages of one run; what is left comes with the next."`
	AllowPrivate bool              `json:"allow_private,omitempty" doc:"Whether the address may be a private or loopback one."`
	Expect       Expectation       `json:"expect,omitempty" doc:"Alert when nothing came: a duration such as 24h, or a cron expression after each run of which something must have come."`
}

// Next says how the next page is found; at most one of cursor, cursor_from, page,
// offset, link and url is set, none: there is one page.
type Next struct {
	Cursor     string `json:"cursor,omitempty" doc:"JSON pointer of the next cursor in the answer; none, null or an empty text there ends the run."`
	CursorFrom string `json:"cursor_from,omitempty" doc:"JSON pointer within the last item of the page, whose value is the next cursor, such as /id; an empty page ends the run."`
	Page       bool   `json:"page,omitempty" doc:"Pages are numbered from 1; an empty one ends the run."`
	Offset     bool   `json:"offset,omitempty" doc:"Pages begin at the number of items before them; an empty one ends the run."`
	Link       bool   `json:"link,omitempty" doc:"The header Link names the next page with rel=next; it must be of the same host."`
	URL        string `json:"url,omitempty" doc:"JSON pointer of the next page's address in the answer; it must be of the same host."`
	More       string `json:"more,omitempty" doc:"JSON pointer of true or false in the answer, such as /has_more: whatever else there is, false ends the run."`
}

// Since says how far back a run asks.
type Since struct {
	Field       string        `json:"field,omitempty" doc:"JSON pointer of an item's time of change; the highest one seen is where the next run begins. Empty: the time of the run, by the earlier one of the partner's clock and ours."`
	Format      string        `json:"format" jsonschema:"default=rfc3339,enum=rfc3339,enum=unix,enum=unix-ms" doc:"How times are written, in items and in the request."`
	Overlap     time.Duration `json:"overlap" jsonschema:"default=5m" max:"720h" doc:"Asked again each time, since clocks differ and changes become visible late."`
	Initial     time.Duration `json:"initial" jsonschema:"default=24h" max:"87600h" doc:"How far back the first run asks."`
	NewestFirst bool          `json:"newest_first,omitempty" doc:"The list is in falling order of field and cannot be asked for since: a run ends at a page of which every item is older."`
}

// Detail is a second request for an item.
type Detail struct {
	Path    Path   `json:"path" jsonschema:"required" doc:"Path and query at the host of url, with {expressions} over item, such as /orders/{item.id}; ${NAME:-default} is replaced."`
	Body    string `json:"body,omitempty" doc:"JSON pointer of the record's body in the answer; empty: the whole answer."`
	Headers string `json:"headers,omitempty" doc:"JSON pointer of an object in the answer that holds the record's headers."`
}

// Missed says whose events a poll looks for.
type Missed struct {
	Webhook string        `json:"webhook" jsonschema:"required" doc:"The name of the webhook source of this integration. Both must make the same idempotency key of the same event; an event found that never arrived becomes a record, is counted and alerted."`
	After   time.Duration `json:"after" jsonschema:"default=5m" max:"720h" doc:"How old an event must be to be missed: younger ones may still be on their way, and are left for the next run."`
}
