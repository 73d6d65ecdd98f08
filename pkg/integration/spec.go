package integration

import "time"

// The types of an integration file. Field tags are the one place that says names,
// defaults, bounds and descriptions: the decoder, the stored document and the
// JSON Schema for editors are all made from them.

// Integration is one flow with one partner, ready to run. It is immutable: do not
// change its fields. All its methods may be called by any number of goroutines.
type Integration struct {
	Name         string                 `json:"integration" jsonschema:"required" pattern:"name" doc:"The name of the integration: lower-case letters, digits and hyphens."`
	Lane         string                 `json:"lane" jsonschema:"default=main" pattern:"name" doc:"The set of work topics and its consumer group; name one to deploy and scale this integration alone."`
	Sources      []Source               `json:"sources" jsonschema:"required" doc:"Where records come in."`
	Record       Record                 `json:"record" doc:"What a record is: its keys, its schema, its checks."`
	Destinations map[string]Destination `json:"destinations,omitempty" doc:"Third parties that steps call, by name."`
	Process      Process                `json:"process" doc:"What is done with each record."`
	Acknowledge  *Acknowledge           `json:"acknowledge,omitempty" doc:"How final statuses go back to the partner."`
	Receipts     *Receipts              `json:"receipts,omitempty" doc:"Who may read receipts over HTTP; the keys of api-key sources always may."`

	document []byte
	hash     string
	file     string
}

// Record says what a record is.
type Record struct {
	IdempotencyKey *Expr   `json:"idempotency_key,omitempty" doc:"Identity of the event: a second arrival is a duplicate."`
	EntityKey      *Expr   `json:"entity_key,omitempty" doc:"Identity of the thing the event is about; the default is the idempotency key."`
	Order          string  `json:"order" jsonschema:"default=none,enum=none,enum=per-entity,enum=latest-wins" doc:"Which order the records of an entity are worked in."`
	Schema         *Schema `json:"schema,omitempty" doc:"A JSON Schema (2020-12): a file beside this one, or the schema itself."`
	Check          []Expr  `json:"check,omitempty" items:"100" doc:"Conditions across fields; the fields of the body are in scope by name."`
	Invalid        string  `json:"invalid" jsonschema:"default=keep,enum=keep,enum=refuse" doc:"keep: answer 202 and reject with reasons; refuse: answer 422."`
	Conflict       string  `json:"conflict" jsonschema:"default=receipt,enum=receipt,enum=refuse" doc:"The answer to a known key with another body: the first receipt, or 409."`
}

// Destination is a third party's API.
type Destination struct {
	URL          string        `json:"url" jsonschema:"required" doc:"The base address; ${NAME:-default} is replaced."`
	Auth         *Auth         `json:"auth,omitempty" doc:"How we prove who we are."`
	Concurrency  int           `json:"concurrency" jsonschema:"default=5,minimum=1,maximum=10000" doc:"Calls at the same time."`
	Rate         Rate          `json:"rate,omitempty" doc:"Calls in a time, for example 50/s or 600/m; without it there is no limit."`
	Timeout      time.Duration `json:"timeout" jsonschema:"default=10s" min:"10ms" max:"10m" doc:"The time one call may take."`
	SlowAfter    time.Duration `json:"slow_after,omitempty" min:"1ms" max:"10m" doc:"Park when the p95 of recent calls is over this."`
	AllowPrivate bool          `json:"allow_private,omitempty" doc:"Whether the address may be a private or loopback one."`
}

// Auth is how we prove who we are; exactly one kind is set.
type Auth struct {
	Bearer *Secret     `json:"bearer,omitempty" doc:"A reference to a bearer token."`
	Basic  *BasicAuth  `json:"basic,omitempty" doc:"User name and password."`
	Header *HeaderAuth `json:"header,omitempty" doc:"A header with a secret value."`
}

// BasicAuth is a user name and a password.
type BasicAuth struct {
	Username string `json:"username" jsonschema:"required" doc:"The user name."`
	Password Secret `json:"password" jsonschema:"required" doc:"A reference to the password."`
}

// HeaderAuth is a header with a secret value.
type HeaderAuth struct {
	Name  string `json:"name" jsonschema:"required" doc:"The header."`
	Value Secret `json:"value" jsonschema:"required" doc:"A reference to its value."`
}

// Process says what is done with each record.
type Process struct {
	Share       Share  `json:"share" doc:"How new, retry and replay work share a worker."`
	MaxInFlight int    `json:"max_in_flight" jsonschema:"default=200,minimum=1,maximum=100000" doc:"Records of this integration worked on at the same time."`
	Steps       []Step `json:"steps,omitempty" items:"100" doc:"The steps, in order."`
	Retry       Retry  `json:"retry" doc:"When a failed attempt is made again."`
	Park        Park   `json:"park" doc:"When parked records are taken up again."`
}

// Share gives weights; unused shares go to the others.
type Share struct {
	New    int `json:"new" jsonschema:"default=60,minimum=0,maximum=1000" doc:"Weight of new records."`
	Retry  int `json:"retry" jsonschema:"default=30,minimum=0,maximum=1000" doc:"Weight of retries."`
	Replay int `json:"replay" jsonschema:"default=10,minimum=0,maximum=1000" doc:"Weight of requeues and backfills."`
}

// Retry says when a failed attempt is made again.
type Retry struct {
	Delays      []time.Duration `json:"delays" min:"100ms" max:"24h" items:"10" list:"5s 30s 5m" doc:"The first delays, one retry topic each, rising."`
	Attempts    int             `json:"attempts" jsonschema:"default=12,minimum=1,maximum=1000" doc:"Attempts before a record is dead."`
	GiveUpAfter time.Duration   `json:"give_up_after" jsonschema:"default=24h" min:"1s" max:"8784h" doc:"The time after which a record is dead; parked time does not count."`
}

// Park says when parked records are taken up again.
type Park struct {
	Resume Resume `json:"resume" jsonschema:"default=probe" doc:"probe, or a cron expression of five fields."`
}

// Receipts says who may read receipts.
type Receipts struct {
	Keys []Secret `json:"keys" jsonschema:"required" items:"8" doc:"References such as ${NAME}: the keys that the partner shows as a bearer token."`
}

// Acknowledge says how final statuses go back to the partner.
type Acknowledge struct {
	Post     *Post    `json:"post" jsonschema:"required" doc:"Post them to the partner's API."`
	Statuses []string `json:"statuses" items:"5" list:"processed rejected superseded discarded dead" enum:"processed rejected superseded discarded dead" doc:"The final states to tell."`
}

// Post describes the partner's status API.
type Post struct {
	To           string        `json:"to" jsonschema:"required" doc:"The address; ${NAME:-default} is replaced."`
	Batch        int           `json:"batch" jsonschema:"default=50,minimum=1,maximum=500" doc:"Outcomes in one request."`
	Every        time.Duration `json:"every" jsonschema:"default=1s" min:"10ms" max:"24h" doc:"The longest an outcome waits for its batch to fill."`
	Sign         *Sign         `json:"sign,omitempty" doc:"How our requests are signed."`
	Auth         *Auth         `json:"auth,omitempty" doc:"How we prove who we are."`
	Confirmed    Expr          `json:"confirmed" jsonschema:"required" doc:"True when the response confirms the item; over response and item."`
	Timeout      time.Duration `json:"timeout" jsonschema:"default=10s" min:"10ms" max:"10m" doc:"The time one request may take."`
	Concurrency  int           `json:"concurrency" jsonschema:"default=2,minimum=1,maximum=1000" doc:"Requests at the same time."`
	Retry        PostRetry     `json:"retry" doc:"When an unconfirmed outcome is sent again."`
	AllowPrivate bool          `json:"allow_private,omitempty" doc:"Whether the address may be a private or loopback one."`
}

// Sign says how our requests are signed.
type Sign struct {
	Scheme  string   `json:"scheme" jsonschema:"required,enum=standard-webhooks" doc:"The kind of signature."`
	Secrets []Secret `json:"secrets" jsonschema:"required" items:"8" doc:"References such as ${NAME}; a request carries one signature for each."`
}

// PostRetry is a doubling delay from First to Max until GiveUpAfter.
type PostRetry struct {
	First       time.Duration `json:"first" jsonschema:"default=5s" min:"10ms" max:"24h" doc:"The first delay."`
	Max         time.Duration `json:"max" jsonschema:"default=1h" min:"10ms" max:"24h" doc:"The longest delay."`
	GiveUpAfter time.Duration `json:"give_up_after" jsonschema:"default=72h" min:"1s" max:"8784h" doc:"The time after which a person is alerted."`
}
