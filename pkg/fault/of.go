package fault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// Of returns the class of err with the rest that is known about it; nil only
// for a nil err. See the package comment for what an unknown error becomes.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	if f := find(err); f != nil {
		return f
	}
	for _, adapter := range []func(error) *Error{ofRuntime, ofPostgres, ofTLS, ofContext, ofNetwork} {
		if f := adapter(err); f != nil {
			return f
		}
	}
	return Wrap(err, System, "unclassified", "%s", err.Error())
}

func ofRuntime(err error) *Error {
	var re runtime.Error
	if errors.As(err, &re) {
		return Wrap(err, Bug, "runtime_error", "%s", re.Error())
	}
	return nil
}

// ofContext comes after the adapters that know more: a driver that wraps a
// deadline says what it was doing.
func ofContext(err error) *Error {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return Wrap(err, System, "timeout", "the time allowed for it ran out")
	case errors.Is(err, context.Canceled):
		return Wrap(err, System, "canceled", "it was given up before its end")
	}
	return nil
}

func ofTLS(err error) *Error {
	var (
		verify    *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	if errors.As(err, &verify) || errors.As(err, &authority) || errors.As(err, &hostname) ||
		errors.As(err, &invalid) || errors.As(err, &record) {
		return Wrap(err, Credentials, "tls", "the TLS connection could not be trusted")
	}
	return nil
}

func ofNetwork(err error) *Error {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return Wrap(err, System, "dns", "the host name could not be resolved")
	}
	for _, lost := range []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, lost) {
			return Wrap(err, System, "reset", "the connection broke")
		}
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return Wrap(err, System, "connect", "no connection could be made")
	}
	var ne net.Error
	if errors.As(err, &ne) {
		if ne.Timeout() {
			return Wrap(err, System, "timeout", "the network did not answer in time")
		}
		return Wrap(err, System, "network", "the network failed")
	}
	return nil
}

// ofPostgres reads the SQLSTATE. Classes 22 and 23 are data because records
// reach Postgres' own checks only through an upsert into a business table: a
// ledger that breaks its own constraint wraps that as a bug where it happens.
func ofPostgres(err error) *Error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return ofSQLState(err, pg)
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return Wrap(err, System, "postgres_unreachable", "Postgres could not be reached")
	}
	return nil
}

func ofSQLState(err error, pg *pgconn.PgError) *Error {
	switch pg.Code {
	case "40P01":
		return Wrap(err, System, "deadlock", "Postgres ended a deadlock")
	case "40001":
		return Wrap(err, System, "serialization_failure", "a concurrent transaction was first")
	case "57014":
		return Wrap(err, System, "timeout", "Postgres canceled the statement")
	case "55P03":
		return Wrap(err, System, "lock_not_available", "a lock was not free in time")
	case "42501":
		return Wrap(err, Credentials, "insufficient_privilege", "the database role may not do this")
	}
	if len(pg.Code) != len("40001") {
		return Wrap(err, System, "postgres", "Postgres answered without a known code")
	}
	code := "postgres_" + strings.ToLower(pg.Code)
	switch pg.Code[:2] {
	case "22", "23":
		return Wrap(err, Data, code, "the table does not take this value")
	case "28":
		return Wrap(err, Credentials, code, "Postgres refused the login")
	case "42":
		return Wrap(err, Bug, code, "Postgres does not understand the statement or misses its table")
	default: // 08 connection, 25 transaction, 40 rollback, 53 resources, 57 operator, 58 system, XX internal
		return Wrap(err, System, code, "Postgres could not do it now")
	}
}
