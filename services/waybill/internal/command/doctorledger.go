package command

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/waybill/internal/console"
)

const (
	// maxSkew is how far the clocks may be apart: signatures are judged on ledger
	// time, and deadlines shown in ours.
	maxSkew = 2 * time.Second
	// maxUnpublished is how long a batch may stand unpublished: the relay takes
	// over after a minute.
	maxUnpublished = 2 * time.Minute
)

func (e *examination) ledger() {
	connect, cancel := context.WithTimeout(e.ctx, openLimit)
	defer cancel()
	conn, err := pgx.Connect(connect, e.config.Postgres.Reveal())
	if err != nil {
		e.find(silent, "ledger", "check WAYBILL_POSTGRES_URL, and that Postgres runs and lets this machine in", "does not answer: %v", err)
		return
	}
	defer conn.Close(context.WithoutCancel(e.ctx))
	e.server(conn)
	b, err := openBook(e.ctx, e.config.Postgres.Reveal(), e.in.Lookup)
	if err != nil {
		e.find(wrong, "schema", "waybill migrate", "%v", err)
		return
	}
	defer b.Close()
	e.catalog = b.catalog
	e.find(fine, "schema", "", "is what this binary needs")
	if b.incomplete != nil {
		e.find(warning, "integrations", "set the variables that they need, or mend the files", "not every one can be read here: %v", b.incomplete)
	}
	e.sessions(conn)
	e.outbox(conn)
	e.people(b)
}

// server looks at what Postgres promises.
func (e *examination) server(conn *pgx.Conn) {
	for _, setting := range []struct{ name, want, why string }{
		{"fsync", "on", "without it a crash of the machine loses records that were answered with a receipt"},
		{"full_page_writes", "on", "without it a crash in the middle of a write can destroy pages"},
		{"synchronous_commit", "on", "the services set it for themselves; other writers to this database do not"},
	} {
		var value string
		if err := conn.QueryRow(e.ctx, `SELECT current_setting($1)`, setting.name).Scan(&value); err != nil {
			e.find(wrong, setting.name, "look at the log of Postgres", "cannot be read: %v", err)
			continue
		}
		level := fine
		switch {
		case value == setting.want, setting.name == "synchronous_commit" && (value == "remote_write" || value == "remote_apply"):
		case setting.name == "synchronous_commit":
			level = warning
		default:
			level = wrong
		}
		e.find(level, setting.name, "set it to "+setting.want+": "+setting.why, "%s", value)
	}
	e.clock(conn)
	var size int64
	var version string
	if err := conn.QueryRow(e.ctx, `SELECT pg_database_size(current_database()), current_setting('server_version')`).Scan(&size, &version); err == nil {
		e.find(fine, "ledger", "", "Postgres %s, %s MiB of data", version, console.Count(size>>20))
	}
}

// clock compares with the middle of the round trip.
func (e *examination) clock(conn *pgx.Conn) {
	var server time.Time
	before := e.in.Now()
	if err := conn.QueryRow(e.ctx, `SELECT clock_timestamp()`).Scan(&server); err != nil {
		e.find(wrong, "clock", "look at the log of Postgres", "cannot be read: %v", err)
		return
	}
	trip := e.in.Now().Sub(before)
	skew := server.Sub(before.Add(trip / 2))
	if skew.Abs() > maxSkew+trip/2 {
		e.find(warning, "clock", "let both machines take their time from NTP", "the ledger's is %s from ours", console.Duration(skew))
		return
	}
	e.find(fine, "clock", "", "the ledger's is %s from ours", console.Duration(skew))
}

func (e *examination) sessions(conn *pgx.Conn) {
	rows, err := conn.Query(e.ctx, `SELECT service, count(*) FROM session WHERE renewed_at >= now() - $1::interval GROUP BY 1 ORDER BY 1`, ledger.SessionLapse)
	if err != nil {
		e.find(wrong, "sessions", "waybill migrate", "cannot be read: %v", err)
		return
	}
	alive := map[string]int64{}
	var service string
	var n int64
	if _, err = pgx.ForEachRow(rows, []any{&service, &n}, func() error { alive[service] = n; return nil }); err != nil {
		e.find(wrong, "sessions", "waybill migrate", "cannot be read: %v", err)
		return
	}
	var said, missing []string
	for _, service := range []string{"ingest", "processor", "acknowledger"} {
		said = append(said, fmt.Sprintf("%s %d", service, alive[service]))
		if alive[service] == 0 {
			missing = append(missing, service)
		}
	}
	level := fine
	if len(missing) > 0 {
		level = warning
	}
	e.find(level, "sessions alive", "start: "+strings.Join(missing, ", "), "%s", strings.Join(said, ", "))
}

func (e *examination) outbox(conn *pgx.Conn) {
	var n int64
	var age time.Duration
	err := conn.QueryRow(e.ctx, `SELECT count(*), coalesce(now() - min(taken_at), '0') FROM outbox WHERE published_at IS NULL`).Scan(&n, &age)
	switch {
	case err != nil:
		e.find(wrong, "outbox", "waybill migrate", "cannot be read: %v", err)
	case age > maxUnpublished:
		e.find(wrong, "outbox", "is Kafka up, and a processor running? its relay publishes what is left", "%s unpublished, the oldest for %s", plural(n, "batch", "batches"), console.Duration(age))
	default:
		e.find(fine, "outbox", "", "%s unpublished", plural(n, "batch", "batches"))
	}
}

// people counts what waits for one.
func (e *examination) people(b *book) {
	for _, kind := range []record.Wait{record.WaitDead, record.WaitUnacknowledged, record.WaitParked} {
		reasons, err := b.Reasons(e.ctx, ledger.Filter{Kind: kind})
		if err != nil {
			e.find(wrong, string(kind), "waybill migrate", "cannot be counted: %v", err)
			continue
		}
		_, total := reasonViews(reasons)
		level := fine
		if total > 0 {
			level = warning
		}
		e.find(level, string(kind), "waybill dead list --kind "+string(kind), "%s for a person", plural(total, "record waits", "records wait"))
	}
}
