package provider

import (
	"encoding/json"
	"net/http"
)

const (
	jsonType = "application/json"
	xmlType  = "text/xml; charset=utf-8"
	textType = "text/plain; charset=utf-8"
)

// AcceptedStatus is the status by which the provider knows that its event was taken.
// Most take any 2xx; what these get beside 200 they send again.
func (s Scheme) AcceptedStatus() int {
	switch s {
	case Mailgun, Paddle, Zoom, Meta, Slack:
		return http.StatusOK
	}
	return http.StatusAccepted
}

// Accepted is the answer by which a provider that acts upon what it gets knows that
// its event was taken; with every other one, and with what these send for nobody to
// answer, it is false, and the answer is the sender's receipt. Ask it for events
// that are stored, duplicates too; refusals need no such answer.
//
//	twilio   messages, calls and their states: a document that asks for nothing, as a
//	         receipt would be reported as an error (12300), and a caller hear of it
//	slack    commands, buttons, dialogs: nothing, which is what ends them
//	discord  interactions: "later", so that who processes the record can follow up with
//	         its token for 15 minutes; webhook events: 204
func Accepted(s Scheme, r Request) (Answer, bool) {
	switch s {
	case Discord:
		return discordAccepted(r)
	case Twilio, Slack:
		if kind, _ := contentType(r); kind == jsonType {
			return Answer{}, false
		}
	default:
		return Answer{}, false
	}
	a := Answer{Status: http.StatusOK, ContentType: textType}
	if s == Twilio {
		a.ContentType, a.Body = xmlType, []byte(`<?xml version="1.0" encoding="UTF-8"?><Response></Response>`)
	}
	return a, true
}

// discordAccepted tells interactions apart by their type: 2 a command, 3 a button or
// list, 4 a text being completed, 5 a dialog.
func discordAccepted(r Request) (Answer, bool) {
	body, ok := decodeBody(r.Body)
	if !ok {
		return Answer{}, false
	}
	if at(body, "event") != nil {
		return Answer{Status: http.StatusNoContent, ContentType: jsonType}, true
	}
	later := ""
	switch at(body, "type") {
	case json.Number("2"), json.Number("5"):
		later = `{"type":5}`
	case json.Number("3"):
		later = `{"type":6}`
	case json.Number("4"):
		later = `{"type":8,"data":{"choices":[]}}`
	default:
		return Answer{}, false
	}
	return Answer{Status: http.StatusOK, ContentType: jsonType, Body: []byte(later)}, true
}
