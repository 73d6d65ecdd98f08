package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"waybill.internal/pkg/record"
)

// statuses is the body of a request to a partner.
type statuses struct {
	Statuses []status `json:"statuses"`
}

// status is one outcome as the partner reads it. What follows final_at is there
// only when the record was not processed.
type status struct {
	ID             string          `json:"id"`
	Outcome        int             `json:"outcome"`
	State          string          `json:"state"`
	IdempotencyKey string          `json:"idempotency_key"`
	EntityKey      string          `json:"entity_key"`
	Integration    string          `json:"integration"`
	AcceptedAt     time.Time       `json:"accepted_at"`
	FinalAt        time.Time       `json:"final_at"`
	Class          string          `json:"class,omitempty"`
	Code           string          `json:"code,omitempty"`
	Message        string          `json:"message,omitempty"`
	Problems       json.RawMessage `json:"problems,omitempty"`
}

func statusOf(r record.Record) status {
	s := status{ID: r.ID.String(), Outcome: r.Outcome.Number, State: string(r.State), IdempotencyKey: r.Key, EntityKey: r.EntityKey,
		// Since: when this number fell due, which is when the record became final. It stays over resends.
		Integration: r.Integration, AcceptedAt: r.AcceptedAt.UTC(), FinalAt: r.Outcome.Since.UTC()}
	if r.State == record.Processed {
		return s
	}
	s.Class, s.Code, s.Message = string(r.Failure.Class), r.Failure.Code, r.Failure.Message
	if json.Valid(r.Failure.Detail) {
		s.Problems = r.Failure.Detail
	}
	return s
}

// message gives the body of a batch and the id it is signed under: the same
// outcomes, in the same order, have the same id however often they are told.
func message(told []record.Record) (id string, body []byte, err error) {
	m := statuses{Statuses: make([]status, len(told))}
	sum := sha256.New()
	for i, r := range told {
		m.Statuses[i] = statusOf(r)
		fmt.Fprintf(sum, "%s/%d\n", r.ID, r.Outcome.Number)
	}
	body, err = json.Marshal(m)
	if err != nil {
		return "", nil, fmt.Errorf("encode %d statuses: %w", len(told), err)
	}
	return "msg_" + hex.EncodeToString(sum.Sum(nil)[:16]), body, nil
}
