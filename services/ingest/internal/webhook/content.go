package webhook

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
)

// content is what a body is.
type content int

const (
	jsonContent content = iota
	linesContent
	formContent
	partsContent
)

// The media types that are taken, as they are named to senders.
const (
	jsonType  = "application/json"
	linesType = "application/x-ndjson"
	formType  = "application/x-www-form-urlencoded"
	partsType = "multipart/form-data"
)

// contentOf tells what a request says its body is; a request that says nothing
// is taken at its word when it turns out to be JSON. The boundary is that of
// partsContent. The error is a fault of class data: 415.
func contentOf(h http.Header, s *integration.Source) (content, string, error) {
	values := h.Values("Content-Type")
	taken := takes(s)
	if len(values) == 0 && slices.Contains(taken, jsonType) {
		return jsonContent, "", nil
	}
	refused := fault.New(fault.Data, "unsupported_media_type", "%s; taken is %s", said(values), strings.Join(taken, ", "))
	if len(values) != 1 {
		return 0, "", refused
	}
	name, parameters, err := mime.ParseMediaType(values[0])
	if err != nil {
		return 0, "", refused
	}
	kind, ok := kindOf(name)
	if !ok || !slices.Contains(taken, kind.name()) {
		return 0, "", refused
	}
	charset := strings.ToLower(parameters["charset"])
	if kind <= linesContent && charset != "" && charset != "utf-8" && charset != "utf8" && charset != "us-ascii" {
		return 0, "", fault.New(fault.Data, "unsupported_media_type", "JSON is UTF-8, and the Content-Type says charset=%.40q; send UTF-8", charset)
	}
	if kind == partsContent && parameters["boundary"] == "" {
		return 0, "", fault.New(fault.Data, "unsupported_media_type", "the Content-Type multipart/form-data has no boundary")
	}
	return kind, parameters["boundary"], nil
}

func said(values []string) string {
	switch len(values) {
	case 0:
		return "the header Content-Type is missing"
	case 1:
		return "the Content-Type is " + strings.ToValidUTF8(values[0][:min(len(values[0]), 100)], "?")
	}
	return "the header Content-Type is given more than once"
}

func kindOf(name string) (content, bool) {
	switch name {
	case jsonType, "text/json":
		return jsonContent, true
	case linesType, "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines":
		return linesContent, true
	case formType:
		return formContent, true
	case partsType:
		return partsContent, true
	}
	return jsonContent, strings.HasPrefix(name, "application/") && strings.HasSuffix(name, "+json")
}

func (c content) name() string { return [...]string{jsonType, linesType, formType, partsType}[c] }

// takes lists what a source takes. Some providers send forms as their events;
// without a proof of the sender, forms are all that is taken.
func takes(s *integration.Source) []string {
	var list []string
	scheme := provider.Scheme(s.Webhook.Verify.Scheme)
	if scheme != provider.None {
		list = append(list, jsonType)
		if s.Webhook.Batch && s.Webhook.Form == nil {
			list = append(list, linesType)
		}
	}
	switch {
	case s.Webhook.Form != nil, scheme == provider.Mailgun:
		list = append(list, formType, partsType)
	case scheme == provider.Twilio, scheme == provider.Slack, scheme == provider.Adyen:
		list = append(list, formType)
	case scheme == provider.SendGrid: // mails that came in
		list = append(list, partsType)
	}
	return list
}
