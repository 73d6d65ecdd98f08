package integration

import (
	"strings"
	"time"
	"unicode/utf8"

	"waybill.internal/pkg/provider"
)

// Webhook is a source of events posted over HTTP.
type Webhook struct {
	Path        string      `json:"path" jsonschema:"required" doc:"The path the partner posts to, for example /in/orders."`
	Verify      Verify      `json:"verify" jsonschema:"required" doc:"How a request proves who sent it."`
	Invalid     string      `json:"invalid,omitempty" jsonschema:"enum=keep,enum=refuse" doc:"What happens to a record that fails validation; the default is record.invalid, and keep for a form."`
	Conflict    string      `json:"conflict,omitempty" jsonschema:"enum=receipt,enum=refuse" doc:"The answer to a known key with another body; the default is record.conflict, and receipt for a form."`
	MaxBody     Bytes       `json:"max_body" jsonschema:"default=1MiB" min:"1" max:"16MiB" doc:"The largest request body accepted, unpacked if it comes as gzip; one record has at most 1MiB."`
	Batch       bool        `json:"batch" jsonschema:"default=true" doc:"A JSON array or NDJSON body is one record for each item; false: the body is one record."`
	MaxItems    int         `json:"max_items" jsonschema:"default=1000,minimum=1,maximum=10000" doc:"Items of one batch."`
	Form        *Form       `json:"form,omitempty" doc:"Take HTML forms, and what the person sees who sent one."`
	Rate        Rate        `json:"rate,omitempty" doc:"Verified requests in a time, for example 200/s, for each ingest process; what is over it gets 429 with Retry-After."`
	Connections int         `json:"connections" jsonschema:"default=4000,minimum=1,maximum=10000" doc:"Requests of this source under way at once, for each ingest process; more get 429 with Retry-After."`
	Expect      Expectation `json:"expect,omitempty" doc:"Alert when nothing came: a duration such as 24h, or a cron expression after each run of which something must have come."`
}

// Form says what the person sees who sent a form; whatever fails later.
type Form struct {
	Redirect string `json:"redirect,omitempty" doc:"An address to go to (303), or a path of this site."`
	Page     Page   `json:"page,omitempty" doc:"An HTML page of at most 64KiB, or @file for one in or below the directory of this file; the default says thank you."`
	Origin   string `json:"origin,omitempty" doc:"The site whose pages may send the form, such as https://www.example.com; without it any may."`
	MaxFile  Bytes  `json:"max_file" jsonschema:"default=256KiB" min:"0" max:"512KiB" doc:"The largest uploaded file; it is kept in the record as base64."`
	Rate     Rate   `json:"rate" jsonschema:"default=60/m" doc:"Forms of one address (IPv6: of one /64 network) in a time, for each ingest process; more get 429 with Retry-After."`
}

// maxPage bounds the page of a form, in bytes.
const maxPage = 64 << 10

// Page is an HTML page, written into the file or lying beside it.
type Page struct{ text string }

func (p *Page) fromNode(d *decoder, n *node, path string) {
	d.out.places[path] = n
	if n.kind != textNode || n.text == "" {
		d.wrong(path, "this is %s; write an HTML page, or @file to name one", n.kind)
		return
	}
	p.text = n.text
	name, named := strings.CutPrefix(n.text, "@")
	if named && d.files != nil { // a stored page is inlined, whatever it begins with
		raw, err := d.files(name, maxPage)
		if err != nil {
			d.wrong(path, "%v", err)
			return
		}
		p.text = string(raw)
	}
	if len(p.text) > maxPage || !utf8.ValidString(p.text) {
		d.wrong(path, "the page must be UTF-8 text of at most %d bytes", maxPage)
	}
}

func (p Page) document() any { return orNil(p.text) }

// String is the HTML of the page, "" for none.
func (p Page) String() string { return p.text }

// Verify says how a request proves who sent it.
type Verify struct {
	Scheme    string        `json:"scheme" jsonschema:"required,enum=adyen,enum=bitbucket,enum=discord,enum=gitea,enum=github,enum=gitlab,enum=mailgun,enum=meta,enum=paddle,enum=sendgrid,enum=shopify,enum=slack,enum=square,enum=stripe,enum=svix,enum=twilio,enum=woocommerce,enum=zoom,enum=standard-webhooks,enum=hmac,enum=api-key,enum=basic,enum=none" doc:"The kind of proof: the provider's name, or standard-webhooks, hmac (described by the keys below), api-key, basic (user name and password), none (forms only)."`
	Secrets   []Secret      `json:"secrets,omitempty" items:"8" doc:"References such as ${NAME}; any of them is accepted, so that they can be changed without a gap. The secret as the provider shows it; sendgrid and discord: the public key; basic: user:password; api-key and basic also as sha256: and 64 hex digits; meta: beside the app secret one token:… for the handshake. Needed by every scheme but none."`
	Header    string        `json:"header,omitempty" doc:"hmac: the header that carries the signature. api-key: the header that carries the key; without it x-api-key and bearer tokens are read."`
	User      string        `json:"user,omitempty" doc:"basic: the user name; the secrets are then passwords."`
	PublicURL string        `json:"public_url,omitempty" doc:"twilio, square, and hmac over {url} or {path}: the address as the provider knows it: https://hooks.example.com, or with the path. Needed where the host is signed, which is all of these but {path}."`
	Algorithm string        `json:"algorithm,omitempty" jsonschema:"enum=sha256,enum=sha512,enum=sha384,enum=sha1" doc:"hmac: the hash; the default is sha256."`
	Encoding  string        `json:"encoding,omitempty" jsonschema:"enum=hex,enum=base64,enum=base64url" doc:"hmac: how the signature is written; the default is hex."`
	Prefix    string        `json:"prefix,omitempty" doc:"hmac: what stands before the signature, for example sha256=."`
	Parameter string        `json:"parameter,omitempty" doc:"hmac: the name of the signatures when the header is a list such as t=1700000000,v1=5f3a: here v1."`
	Content   string        `json:"content,omitempty" doc:"hmac: what is signed, with {body}, {timestamp}, {id}, {method}, {url}, {path} (without the query), {header:Name} and \\n; the default is {body}."`
	Timestamp string        `json:"timestamp,omitempty" doc:"hmac: the header of the signed time (seconds, milliseconds or RFC 3339), or t= for the parameter t of the signature header."`
	ID        string        `json:"id,omitempty" doc:"hmac: the header of the event's id, which is then the default idempotency key; in content as {id} it is signed too."`
	Tolerance time.Duration `json:"tolerance" jsonschema:"default=5m" min:"1s" max:"24h" doc:"How far the signed time may be from the ledger's, past and future; has a meaning only where a time is signed."`
}

// Verification is the configuration of the verifier, without the secrets.
func (v Verify) Verification() provider.Config {
	c := provider.Config{Scheme: provider.Scheme(v.Scheme), Header: v.Header, User: v.User, PublicURL: v.PublicURL, Algorithm: v.Algorithm,
		Encoding: v.Encoding, Prefix: v.Prefix, Parameter: v.Parameter, Content: v.Content, Timestamp: v.Timestamp, ID: v.ID}
	if c.Scheme.Timed() && (c.Scheme != provider.HMAC || c.Timestamp != "") {
		c.Tolerance = v.Tolerance
	}
	return c
}

// hasEventID says whether requests carry an id that can be the idempotency key.
func (v Verify) hasEventID() bool {
	return provider.Scheme(v.Scheme).HasEventID() || v.Scheme == string(provider.HMAC) && v.ID != ""
}
