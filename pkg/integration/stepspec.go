package integration

import "time"

// Step is one act of processing; exactly one of its kinds is set.
type Step struct {
	Lookup *LookupStep `json:"lookup,omitempty" doc:"Translate a key by a table of the ledger's database."`
	Call   *Call       `json:"call,omitempty" doc:"Call a third party's API."`
	Map    *Map        `json:"map,omitempty" doc:"Set target fields: target: source path or expression."`
	Upsert *Upsert     `json:"upsert,omitempty" doc:"Write the mapped fields into a table of the ledger's database."`
	Custom *Custom     `json:"custom,omitempty" doc:"A Go function given to the processor."`
}

// LookupStep translates a key by a table; its result, steps.<name>, is the value found.
type LookupStep struct {
	Name    string          `json:"name" jsonschema:"required" pattern:"ident" doc:"The name of the result: steps.<name>."`
	Table   string          `json:"table" jsonschema:"required" pattern:"table" doc:"table or schema.table."`
	Key     map[string]Expr `json:"key" jsonschema:"required" keys:"ident" items:"16" doc:"column: expression, for each column of the key."`
	Take    string          `json:"take" jsonschema:"required" pattern:"ident" doc:"The column whose value is taken."`
	Missing string          `json:"missing" jsonschema:"default=reject,enum=reject,enum=retry" doc:"What happens to a record whose key is not there."`
	Cache   time.Duration   `json:"cache" jsonschema:"default=5m" min:"0s" max:"24h" doc:"How long a found value is kept in memory; 0s reads every time."`
}

// Call is one request to a destination; its result, steps.<name>, is what keep keeps.
type Call struct {
	Name    string          `json:"name" jsonschema:"required" pattern:"ident" doc:"The name of the result: steps.<name>."`
	To      string          `json:"to" jsonschema:"required" doc:"The destination."`
	Method  string          `json:"method" jsonschema:"default=POST,enum=GET,enum=POST,enum=PUT,enum=PATCH,enum=DELETE" doc:"The HTTP method."`
	Path    Path            `json:"path" jsonschema:"default=/" doc:"Appended to the destination's address; {expression} is replaced, escaped."`
	Headers map[string]Expr `json:"headers,omitempty" items:"50" doc:"header: expression; a header whose value is nil is left out."`
	Body    *Field          `json:"body,omitempty" doc:"field: expression, maps and lists of them; sent as JSON, missing values as null."`
	Accept  *Expr           `json:"accept,omitempty" doc:"True when the call succeeded; the default is a status of 200 to 299."`
	Reject  []RejectRule    `json:"reject,omitempty" items:"50" doc:"Rules that reject the record; the first that holds counts, before accept."`
	Keep    map[string]Expr `json:"keep,omitempty" keys:"ident" items:"100" doc:"field: expression over response; becomes steps.<name>."`
	Timeout time.Duration   `json:"timeout,omitempty" min:"10ms" max:"10m" doc:"The time the call may take; the default is the destination's."`

	base        string // the destination's address
	callTimeout time.Duration
}

// RejectRule turns an answer into a rejection.
type RejectRule struct {
	When    Expr   `json:"when" jsonschema:"required" doc:"True when the answer means that the record is wrong."`
	Code    string `json:"code" jsonschema:"required" pattern:"code" doc:"A short word for the reason."`
	Message string `json:"message" jsonschema:"required" doc:"The reason, for the partner."`
}

// Map sets target fields. All its expressions see mapped as it was before the step.
type Map struct {
	Fields map[string]Field
}

// Upsert writes mapped fields into a table.
type Upsert struct {
	Table   string   `json:"table" jsonschema:"required" pattern:"table" doc:"table or schema.table."`
	Key     []string `json:"key" jsonschema:"required" pattern:"ident" items:"16" doc:"The columns that identify the row."`
	Columns []string `json:"columns" pattern:"ident" items:"500" doc:"The mapped fields to write; the default is all of them."`
}

// Custom is a Go function given to the processor under this name.
type Custom struct {
	Name string         `json:"name" jsonschema:"required" pattern:"ident" doc:"The name of the function, and of its result: steps.<name>."`
	With map[string]any `json:"with,omitempty" doc:"Settings for the function."`
}
