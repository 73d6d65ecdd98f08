package ledger

import (
	"encoding/json"
	"time"

	"waybill.internal/pkg/egress"
)

// CallInteraction is what the ledger keeps of one of our own calls.
func CallInteraction(kind string, i egress.Interaction, at time.Time) Interaction {
	return Interaction{TrackingID: i.TrackingID, Kind: kind, Method: i.Method, URL: i.URL, Status: i.Status,
		Duration: time.Duration(i.DurationMS) * time.Millisecond, RequestHeader: headerDocument(i.RequestHeader), RequestBody: i.RequestBody.Data,
		ResponseHeader: headerDocument(i.ResponseHeader), ResponseBody: i.ResponseBody.Data, Error: i.Error, At: at}
}

func headerDocument(h map[string]string) []byte {
	if len(h) == 0 {
		return nil
	}
	document, err := json.Marshal(h)
	if err != nil {
		return nil // a map of strings always marshals
	}
	return document
}
