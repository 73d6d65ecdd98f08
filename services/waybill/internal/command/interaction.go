package command

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/services/waybill/internal/console"
)

// interactionView is one exchange over an API, ours or a third party's.
type interactionView struct {
	TrackingID     record.ID       `json:"tracking_id"`
	Kind           string          `json:"kind"`
	Integration    string          `json:"integration"`
	Method         string          `json:"method"`
	URL            string          `json:"url"`
	Status         int             `json:"status"` // 0: no answer came
	MS             int64           `json:"ms"`
	Error          string          `json:"error,omitempty"`
	At             time.Time       `json:"at"`
	RequestHeader  json.RawMessage `json:"request_header,omitempty"`
	RequestBody    string          `json:"request_body,omitempty"`
	ResponseHeader json.RawMessage `json:"response_header,omitempty"`
	ResponseBody   string          `json:"response_body,omitempty"`
}

func interactionViewOf(i ledger.Interaction) interactionView {
	v := interactionView{TrackingID: i.TrackingID, Kind: i.Kind, Integration: i.Integration, Method: i.Method, URL: i.URL, Status: i.Status,
		MS: i.Duration.Milliseconds(), Error: i.Error, At: i.At.UTC(), RequestBody: i.RequestBody, ResponseBody: i.ResponseBody}
	if json.Valid(i.RequestHeader) {
		v.RequestHeader = i.RequestHeader
	}
	if json.Valid(i.ResponseHeader) {
		v.ResponseHeader = i.ResponseHeader
	}
	return v
}

func (v interactionView) answer() string {
	text := fmt.Sprint(v.Status)
	if v.Status == 0 {
		text = "no answer"
	}
	if v.Error != "" {
		text += ", " + console.Short(v.Error, 160)
	}
	return text
}

// line is an interaction in one line.
func (v interactionView) line() string {
	return fmt.Sprintf("%s %s  %s  %s  tracking id %s", console.Clean(v.Method), console.Clean(v.URL), v.answer(), ms(v.MS), v.TrackingID)
}

func (v interactionView) writeBodies(w io.Writer) {
	writeBody(w, "request", v.RequestBody)
	writeBody(w, "answer", v.ResponseBody)
}

// writeAlone is an interaction that is about no record: a refused request.
func (v interactionView) writeAlone(w io.Writer, bodies bool) {
	fmt.Fprintf(w, "tracking id  %s   %s at %s; it is about no record\n", v.TrackingID, v.Kind, v.At.Format(timeFormat))
	fmt.Fprintf(w, "request      %s %s\n", console.Clean(v.Method), console.Clean(v.URL))
	if v.Integration != "" {
		fmt.Fprintf(w, "integration  %s\n", v.Integration)
	}
	fmt.Fprintf(w, "answer       %s after %s\n", v.answer(), ms(v.MS))
	var answer struct {
		Title  string          `json:"title"`
		Detail string          `json:"detail"`
		Errors json.RawMessage `json:"errors"`
	}
	if json.Unmarshal([]byte(v.ResponseBody), &answer) == nil && answer.Title+answer.Detail != "" {
		fmt.Fprintf(w, "why          %s %s\n", console.Clean(answer.Title), console.Clean(answer.Detail))
		for _, line := range reasonLines(answer.Errors) {
			fmt.Fprintln(w, "             - "+line)
		}
	}
	if len(v.RequestHeader) > 0 {
		fmt.Fprintf(w, "headers      %s\n", console.Clean(string(v.RequestHeader)))
	}
	if bodies {
		v.writeBodies(w)
	}
}
