// Package record holds the words of Waybill: a record, its states, the events
// that move it and the effects that a move has. It imports the standard
// library only and does no I/O: callers commit to the ledger what Step
// returns, then let the effects leave, then mark the offset, in this order.
package record

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// MaxKeyBytes bounds an idempotency key and an entity key, in bytes of UTF-8.
const MaxKeyBytes = 512

// ID identifies a record: a UUIDv8 derived from its integration and
// idempotency key, so that identity and de-duplication are one unique index.
type ID [16]byte

// DeriveID gives the id of the event with this idempotency key. The
// installation key comes from the ledger; ids of two installations differ.
func DeriveID(installationKey []byte, integration, idempotencyKey string) ID {
	mac := hmac.New(sha256.New, installationKey)
	// The length keeps ("ab", "c") and ("a", "bc") apart.
	fmt.Fprintf(mac, "%d:%s:%s", len(integration), integration, idempotencyKey)
	var id ID
	copy(id[:], mac.Sum(nil))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// String is the usual 8-4-4-4-12 form.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// MarshalText makes an ID appear as its string form in JSON.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is the reverse of MarshalText.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}

// ParseID reads the form that String writes.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("%q is not an id: it needs the form 8-4-4-4-12 of hexadecimal digits", s)
	}
	packed := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(id[:], []byte(packed)); err != nil {
		return ID{}, fmt.Errorf("%q is not an id: %w", s, err)
	}
	return id, nil
}

// Record is the moving part of a record: what the ledger's hot row holds and
// what Step decides on. Times are the ledger's clock.
type Record struct {
	ID          ID
	Seq         int64 // arrival order within the installation
	Day         int32 // UTC day of arrival, days since 1970-01-01
	Integration string
	Source      string
	Key         string // idempotency key: identity of the event
	EntityKey   string // identity of the thing it is about: the Kafka key
	Version     int64  // integration version, pinned by the first attempt
	Revision    int32  // newest payload revision, 0 for the first arrival

	State   State
	Fence   int64 // raised by every transition; whoever writes must match it
	Attempt int   // attempts spent since the last requeue, this one included
	Losses  int   // claims lost with their worker since the last settled attempt, and begun alone after AloneAfter of them
	Session int64 // the lease: the session that holds it, 0 for none
	Failure Failure

	Outcome Outcome

	AcceptedAt time.Time
	Since      time.Time // from when give_up_after counts; parked time moves it on
	MovedAt    time.Time // when the last transition was committed
}

// Outcome is a final state to tell the partner, numbered per record.
type Outcome struct {
	Number int
	State  OutcomeState
	Try    int       // tries at telling this number
	Since  time.Time // when this number fell due
}

// Failure says why a record was rejected, is retried, parked or dead.
type Failure struct {
	Class   Class
	Code    string // stable, snake_case
	Message string
	Detail  []byte // JSON list of problems, or nil
	// RetryAfter is the least wait that the third party asked for.
	RetryAfter time.Duration
}

// Class of a failure, decided once, at the adapter that saw it.
type Class string

const (
	ClassNone        Class = ""
	ClassData        Class = "data"
	ClassDuplicate   Class = "duplicate"
	ClassSystem      Class = "system"
	ClassOutage      Class = "outage"
	ClassSlow        Class = "slow"
	ClassCredentials Class = "credentials"
	ClassBug         Class = "bug"
)

// Classes lists every class. The ledger's CHECK restates it.
func Classes() []Class {
	return []Class{ClassData, ClassDuplicate, ClassSystem, ClassOutage, ClassSlow, ClassCredentials, ClassBug}
}
