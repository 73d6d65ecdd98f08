package signature

// Code names why a signature was refused. Codes are part of the answer to the
// sender and never change their meaning.
type Code string

// The reasons for a refusal.
const (
	MissingSignature    Code = "missing_signature"
	MissingID           Code = "missing_id"
	MissingTimestamp    Code = "missing_timestamp"
	MalformedSignature  Code = "malformed_signature"
	MalformedID         Code = "malformed_id"
	MalformedTimestamp  Code = "malformed_timestamp"
	DuplicateHeader     Code = "duplicate_header"
	TimestampOutOfRange Code = "timestamp_out_of_range"
	BadSignature        Code = "bad_signature"
)

// Error is a refused signature: always the sender's fault, answered with 401.
type Error struct {
	Code   Code
	Header string // the header it is about, as the sender knows it
	Detail string // a sentence for the sender; holds no secret and no signature
}

// Error gives code and sentence.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Detail }
