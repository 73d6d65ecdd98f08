package fault

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"waybill.internal/pkg/record"
)

// Class says what a failure means for the record it happened to.
type Class = record.Class

// The classes, in the order of the table in the package comment.
const (
	Data        = record.ClassData
	Duplicate   = record.ClassDuplicate
	System      = record.ClassSystem
	Outage      = record.ClassOutage
	Slow        = record.ClassSlow
	Credentials = record.ClassCredentials
	Bug         = record.ClassBug
)

// Problem is one reason within a failure, placed where the sender can find it.
type Problem struct {
	Pointer string `json:"pointer,omitempty"` // JSON pointer into the body, "" for the whole
	Line    int    `json:"line,omitempty"`    // line of a file, 0 when there is none
	Code    string `json:"code"`              // stable, snake_case
	Message string `json:"message"`           // what is wrong and what would be right
}

// Error is a failure with its class.
type Error struct {
	Class   Class
	Code    string    // stable and snake_case: dashboards, filters and fingerprints use it
	Message string    // one sentence for a person
	Detail  []Problem // every reason, when there are several; may be nil

	// RetryAfter is the least time the other side asked us to wait, 0 when it
	// asked for none. It lies in [0, MaxRetryAfter].
	RetryAfter time.Duration

	// Candidate marks a credentials failure that one record alone does not
	// prove (403). The destination is paused only when several different
	// records met it; until then the record is treated as a system failure.
	Candidate bool

	Stack string // of a panic, "" otherwise
	Err   error  // the cause, may be nil
}

// New returns a failure without a cause. The code is brought to snake_case.
func New(class Class, code, format string, args ...any) *Error {
	return Wrap(nil, class, code, format, args...)
}

// Wrap returns a failure caused by err.
func Wrap(err error, class Class, code, format string, args ...any) *Error {
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	return &Error{Class: class, Code: SnakeCase(code), Message: message, Err: err}
}

// Rejected returns a data failure with all its reasons.
func Rejected(code, message string, detail ...Problem) *Error {
	return &Error{Class: Data, Code: SnakeCase(code), Message: message, Detail: detail}
}

// FromPanic returns the bug that a recovered panic is. The stack is what
// runtime/debug.Stack gave inside the deferred function. The message, which
// senders and partners may see, tells the value's type alone, since the value
// may quote a payload; Err has the value, for the log.
func FromPanic(value any, stack []byte) *Error {
	err, ok := value.(error)
	if !ok {
		err = fmt.Errorf("%v", value)
	}
	return &Error{Class: Bug, Code: "panic", Message: fmt.Sprintf("panic of type %T", value), Stack: string(stack), Err: err}
}

// Error gives class, code, message and cause in one line.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s (%s): %s", e.Code, e.Class, e.Message)
	// A cause whose text the message already carries is not said twice.
	if e.Err != nil && !strings.Contains(e.Message, e.Err.Error()) {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// OwnDuplicate reports whether a duplicate is the echo of our own earlier
// attempt whose outcome was unknown. The destination then has the record: it
// is processed, not rejected.
func (e *Error) OwnDuplicate() bool {
	return e.Class == Duplicate && e.Code == codeOwnDuplicate
}

// SnakeCase brings a code to lower-case letters, digits and single
// underscores, at most 64 bytes; an empty result becomes "unknown".
func SnakeCase(code string) string {
	const longest = 64
	var b strings.Builder
	gap := false
	for _, r := range code {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte('_')
		}
		gap = false
		b.WriteRune(r)
		if b.Len() >= longest {
			break
		}
	}
	if b.Len() == 0 {
		return "unknown"
	}
	return b.String()
}

// classified is implemented by errors of other packages that know their class.
type classified interface{ Fault() *Error }

func find(err error) *Error {
	var own *Error
	if errors.As(err, &own) && own != nil {
		return own
	}
	var other classified
	if errors.As(err, &other) {
		return other.Fault()
	}
	return nil
}
