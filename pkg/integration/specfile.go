package integration

import "time"

// File is a source of files that the partner leaves somewhere.
type File struct {
	From         string      `json:"from" jsonschema:"required" doc:"Where: a directory, or a file://, http(s)://, ftp://, ftps://, sftp:// or s3:// URL; ${NAME:-default} is replaced; the last part may be a pattern such as *.csv. A path begins at the server's root, or with /~/ where the login leads; for S3 it is bucket and prefix. A web address is one file."`
	Match        string      `json:"match,omitempty" doc:"A pattern for file names, such as *.csv; the default is the pattern in from, else *."`
	Every        Schedule    `json:"every,omitempty" doc:"When to look, as a cron expression of five fields; every or on_arrival is required. waybill file pull looks at once."`
	Arrival      bool        `json:"on_arrival,omitempty" doc:"Look as soon as something changes, in a watched directory; elsewhere every minute."`
	Timezone     string      `json:"timezone" jsonschema:"default=UTC" doc:"The time zone of the schedule, for example Europe/Berlin."`
	Remote       *Remote     `json:"remote,omitempty" doc:"How we log in where the files are."`
	Complete     Complete    `json:"complete" doc:"When a file is whole."`
	Format       Format      `json:"format" jsonschema:"required" doc:"What the files contain."`
	After        string      `json:"after" jsonschema:"default=move,enum=move,enum=keep,enum=delete" doc:"What becomes of a file that was read: moved to done/ or failed/ beside it, left where it is and remembered, or deleted (one that failed is never deleted)."`
	Archive      string      `json:"archive,omitempty" doc:"A directory that keeps a copy of every file that was read; relative ones lie below WAYBILL_INGEST_DROP."`
	Mode         string      `json:"mode" jsonschema:"default=delta,enum=delta,enum=snapshot" doc:"delta: each row is a record; snapshot: a file holds everything there is, rows that changed are records and each entity that disappeared is one whose header op is delete and whose body is that of its last version with deleted: true and entity_key; the schema is not applied to it."`
	Unchanged    string      `json:"unchanged" jsonschema:"default=accept,enum=accept,enum=skip" doc:"skip: a row equal to the latest accepted version of its entity, from whichever source, is left out; with mode snapshot that is always so."`
	Snapshot     *Snapshot   `json:"snapshot,omitempty" doc:"What disappears from a snapshot."`
	Report       *Report     `json:"report,omitempty" doc:"A report on each file for the partner."`
	Expect       Expectation `json:"expect,omitempty" doc:"Alert when no file came: a duration such as 24h, or a cron expression after each run of which one must have come."`
	AllowPrivate bool        `json:"allow_private,omitempty" doc:"Whether the server may be at a private or loopback address."`
}

// Remote says how we log in where the files are.
type Remote struct {
	Username string   `json:"username,omitempty" doc:"FTP, FTPS, SFTP: the user name, unless from has it; without one FTP is anonymous. S3: the access key's id. ${NAME:-default} is replaced."`
	Password *Secret  `json:"password,omitempty" doc:"A reference to the password; for S3 to the secret access key; for an SFTP key with a passphrase to that."`
	Key      *Secret  `json:"key,omitempty" doc:"SFTP: a reference to the private key in PEM."`
	HostKeys []string `json:"host_keys,omitempty" items:"8" doc:"SFTP: the server's public keys as in authorized_keys, or their SHA256: fingerprints. Without them every server is refused, and the alert tells the fingerprint that it showed."`
	CA       string   `json:"ca,omitempty" doc:"FTPS, HTTPS, S3: a file with the certificates to trust instead of the system's."`
	Implicit bool     `json:"implicit,omitempty" doc:"FTPS: TLS from the first byte (port 990) rather than AUTH TLS."`
	Endpoint string   `json:"endpoint,omitempty" doc:"S3: the server, such as https://s3.eu-central-1.amazonaws.com; the default is AWS. ${NAME:-default} is replaced."`
	Region   string   `json:"region,omitempty" doc:"S3: the region; AWS is asked for it if there is none."`
	Auth     *Auth    `json:"auth,omitempty" doc:"HTTP, HTTPS: how we prove who we are."`
}

// Complete says when a file is whole.
type Complete struct {
	By     string        `json:"by" jsonschema:"default=stable,enum=stable,enum=marker,enum=rename" doc:"stable: size and time of change stayed the same; marker: a second file says so; rename: as soon as it has a matching name."`
	Marker string        `json:"marker,omitempty" doc:"marker: the name of the second file, where {name} is the file's name and {stem} the name without its last suffix, such as {name}.done."`
	For    time.Duration `json:"for" jsonschema:"default=1s" min:"100ms" max:"24h" doc:"stable: for how long."`
}

// Snapshot bounds what a file that holds everything may delete.
type Snapshot struct {
	MaxDeletes string `json:"max_deletes" jsonschema:"default=10%" doc:"So many deletions in one file, as a number or a share of what was known before it such as 10%, are believed. More fail the file and delete nothing, and so do deletions beside rows of which nobody can tell what they are about; waybill file pull --allow-deletes lets a person agree."`
}

// Report says where the report on each file goes.
type Report struct {
	To           string `json:"to" jsonschema:"required" doc:"A directory or http(s):// address; a relative directory lies below WAYBILL_INGEST_DROP. ${NAME:-default} is replaced."`
	Format       string `json:"format" jsonschema:"default=csv,enum=csv,enum=json" doc:"How it is written."`
	Auth         *Auth  `json:"auth,omitempty" doc:"http(s): how we prove who we are."`
	AllowPrivate bool   `json:"allow_private,omitempty" doc:"Whether the address may be a private or loopback one."`
}

// Format is what a file contains; exactly one kind is set. Compression around it
// (gzip, bzip2, xz, zstd, a zip archive) is recognised by its first bytes.
type Format struct {
	CSV    *CSV    `json:"csv,omitempty" doc:"Separated values: CSV, TSV and the like."`
	Fixed  *Fixed  `json:"fixed,omitempty" doc:"Lines whose columns have fixed places."`
	XML    *XML    `json:"xml,omitempty" doc:"XML with one element a record."`
	XLSX   *Sheet  `json:"xlsx,omitempty" doc:"A spreadsheet (.xlsx)."`
	XLS    *Sheet  `json:"xls,omitempty" doc:"An old binary spreadsheet (.xls)."`
	JSON   *JSON   `json:"json,omitempty" doc:"A JSON document with a list of records."`
	NDJSON *NDJSON `json:"ndjson,omitempty" doc:"One JSON value a line."`
	Member string  `json:"member,omitempty" doc:"A pattern for the files of a zip archive that are read, in order of their names, such as *.csv or export/*.csv; the default is all but hidden ones."`

	MaxSize Bytes `json:"max_size" jsonschema:"default=64GiB" min:"1KiB" max:"1024GiB" doc:"The most that is unpacked from one compressed file; what would be larger is refused."`
}

// CSV describes a file of separated values.
type CSV struct {
	Delimiter string   `json:"delimiter" jsonschema:"default=\\," doc:"What stands between two cells, 1 to 8 characters; auto: the likeliest of comma, semicolon, tab and pipe."`
	RowEnd    string   `json:"row_end,omitempty" doc:"What stands after a row, 1 to 8 characters, if not a line end; line ends right after it are passed over."`
	Quote     string   `json:"quote" jsonschema:"default=\"" doc:"The quotation mark, one character; none: quotation marks are plain text."`
	Stray     string   `json:"stray_quotes" jsonschema:"default=refuse,enum=refuse,enum=keep" doc:"A quotation mark inside an unquoted cell, or text after a closing one: refuse makes the row a rejected record, keep reads them as they stand, as spreadsheets do."`
	Escape    string   `json:"escape,omitempty" doc:"A character that takes the meaning from the next one, such as \\; without it a doubled quotation mark stands for one."`
	Comment   string   `json:"comment,omitempty" doc:"Lines that begin with this character are passed over."`
	Preamble  int      `json:"preamble" jsonschema:"default=0,minimum=0,maximum=1000" doc:"Lines before the header or the first row that are passed over; comment lines are not counted."`
	Trim      string   `json:"trim" jsonschema:"default=none,enum=none,enum=start,enum=both" doc:"Spaces and tabs that are left out: at the start of cells (also before a quotation mark), or on both sides; what stands inside quotation marks stays."`
	Charset   string   `json:"charset" jsonschema:"default=utf-8" doc:"The encoding, by its name on the web such as windows-1252 or iso-8859-7; auto: UTF-8, or windows-1252 for a file that is not. A byte order mark wins."`
	Header    bool     `json:"header" jsonschema:"default=true" doc:"Whether the first row names the columns."`
	Columns   []string `json:"columns,omitempty" items:"1000" doc:"The names of the columns when there is no header, or instead of the header's."`
}

// Fixed describes lines whose columns have fixed places.
type Fixed struct {
	Columns  []FixedColumn `json:"columns" jsonschema:"required" items:"1000" doc:"The columns."`
	Charset  string        `json:"charset" jsonschema:"default=utf-8" doc:"As in csv."`
	Preamble int           `json:"preamble" jsonschema:"default=0,minimum=0,maximum=1000" doc:"Lines at the start that are passed over."`
	Comment  string        `json:"comment,omitempty" doc:"Lines that begin with this character are passed over."`
	Pad      bool          `json:"pad,omitempty" doc:"Lines that end before the last column does are read as if blanks followed; without it they are rejected records."`
}

// FixedColumn is one column, counted in characters.
type FixedColumn struct {
	Name  string `json:"name" jsonschema:"required" doc:"The name of the field."`
	Start int    `json:"start" jsonschema:"required,minimum=1,maximum=1000000" doc:"Where the first character stands, counted from 1."`
	Width int    `json:"width" jsonschema:"required,minimum=1,maximum=1000000" doc:"So many characters; blanks around the value are left out."`
}

// XML describes where an XML file has its records.
type XML struct {
	Record     string            `json:"record,omitempty" doc:"The element that is a record: a name such as Order, wherever it stands, or a path from the root such as /Orders/Order; prefixes are those of namespaces. Default: the children of the root."`
	Namespaces map[string]string `json:"namespaces,omitempty" doc:"Prefixes used in record and their URIs; a name without prefix fits any namespace. In records, attributes of these namespaces are named @prefix:name, all others @name."`
	MaxDepth   int               `json:"max_depth" jsonschema:"default=64,minimum=1,maximum=1000" doc:"Elements inside each other; deeper files are refused."`
}

// Sheet describes a spreadsheet.
type Sheet struct {
	Sheet   string   `json:"sheet,omitempty" doc:"The sheet's name, or its number among the visible sheets, from 1; default: the first visible one. Hidden sheets are read when they are named."`
	Header  int      `json:"header" jsonschema:"default=1,minimum=0,maximum=1000" doc:"The row that names the columns, counted from 1; 0: there is none."`
	Columns []string `json:"columns,omitempty" items:"1000" doc:"The names of the columns when there is no header, or instead of the header's."`
	Merged  string   `json:"merged" jsonschema:"default=first,enum=first,enum=fill" doc:"first: the value of merged cells stands in the first one; fill: in each of them."`
}

// JSON describes a JSON document with a list of records.
type JSON struct {
	Items string `json:"items,omitempty" doc:"JSON pointer of the list, such as /data/orders; a part * stands for every element of a list, such as /orders/*/lines; default: the document is the list. An object there is one record; elements that are no objects become {\"value\": element}."`
}

// NDJSON describes one JSON value a line.
type NDJSON struct{}
