package cases

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
)

// payloadFile takes a body as a provider sends it: it must be readable, carry an
// event id where the provider's bodies do, and verify when it is signed as that
// provider signs.
func payloadFile(c Case) (out []string) {
	folder := path.Base(path.Dir(c.File))
	scheme := schemeOf(folder)
	if path.Ext(c.File) != ".json" {
		return formFields(c, scheme)
	}
	body, err := integration.DecodeJSON(c.Content())
	if err != nil {
		return []string{"not read: " + err.Error()}
	}
	if !scheme.Known() {
		c.Note("nothing is known of how %s signs; the body was read", folder)
		return nil
	}
	if provider.BodyEventID(scheme, body) == "" && carriesID(scheme, body) {
		out = append(out, "the body gives no event id")
	}
	return append(out, signAndVerify(c, scheme, "application/json")...)
}

// carriesID says whether a body of the provider is one of those that have their id
// in them: what Slack sends of people's acts has none, nor have Adyen's terminals.
func carriesID(s provider.Scheme, body any) bool {
	object, _ := body.(map[string]any)
	switch s {
	case provider.Stripe, provider.Square, provider.Paddle, provider.SendGrid:
		return true
	case provider.Slack:
		id, given := object["event_id"]
		return object["type"] == "event_callback" && !(given && id == "") // a template's is empty
	case provider.Adyen:
		_, terminal := object["SaleToPOIRequest"]
		return !terminal
	}
	return false
}

// signAndVerify sends the body through our own signer and the product's verifier.
func signAndVerify(c Case, scheme provider.Scheme, contentType string) []string {
	pair, err := provider.NewPair(scheme)
	if err != nil {
		return []string{err.Error()}
	}
	now := time.Unix(1_700_000_000, 0)
	r := provider.Request{Method: http.MethodPost, URL: "https://hooks.example.com/in", Header: http.Header{"Content-Type": {contentType}}, Body: c.Content()}
	signed, err := provider.Sign(provider.Config{Scheme: scheme, Secrets: []string{pair.Sign}}, r, now)
	if err != nil {
		return []string{err.Error()}
	}
	verifier, err := provider.New(provider.Config{Scheme: scheme, Secrets: []string{pair.Verify}})
	if err != nil {
		return []string{err.Error()}
	}
	if _, err := verifier.Verify(signed, now); err != nil {
		return []string{"refused after signing: " + err.Error()}
	}
	return nil
}

// formFields reads a form: a multipart body, whose boundary is its first line, or
// one line of escaped fields.
func formFields(c Case, scheme provider.Scheme) []string {
	if values, err := url.ParseQuery(string(bytes.TrimSpace(c.Content()))); err == nil && bytes.IndexByte(c.Content(), '=') > 0 && !bytes.HasPrefix(c.Content(), []byte("--")) {
		c.Checked(len(values))
		if !scheme.Known() || scheme == provider.Mailgun || scheme == provider.Adyen { // which sign inside the body, and only JSON here
			return nil
		}
		return signAndVerify(c, scheme, "application/x-www-form-urlencoded")
	}
	first, _, _ := bytes.Cut(c.Content(), []byte("\n"))
	boundary, ok := strings.CutPrefix(strings.TrimRight(string(first), "\r"), "--")
	if !ok || boundary == "" {
		return []string{"it is neither JSON nor a multipart body"}
	}
	parts := multipart.NewReader(bytes.NewReader(c.Content()), boundary)
	fields := 0
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return []string{fmt.Sprintf("field %d: %v", fields+1, err)}
		}
		if part.FormName() == "" {
			return []string{fmt.Sprintf("field %d has no name", fields+1)}
		}
		if _, err := io.Copy(io.Discard, part); err != nil {
			return []string{fmt.Sprintf("field %s: %v", part.FormName(), err)}
		}
		fields++
	}
	if fields == 0 {
		return []string{"it has no fields"}
	}
	c.Checked(fields)
	return nil
}
