package provider

import (
	"bytes"
	"crypto/sha1" // #nosec G505 -- Twilio signs with HMAC-SHA1 under the auth token
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"waybill.internal/pkg/signature"
)

// Bounds of what is read out of bodies.
const (
	maxFormFields    = 1000
	maxFormPartBytes = 1 << 20
	maxAdyenItems    = 100
	// maxDecoded bounds the JSON that is looked into, much of it before anything is proven.
	maxDecoded = 1 << 20
)

// decodeBody reads JSON as maps, so that names are compared exactly. A repeated
// name or broken UTF-8 is found by the stricter decoder that makes the record.
func decodeBody(raw []byte) (any, bool) {
	if len(raw) > maxDecoded {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return nil, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, false
	}
	return value, true
}

// at walks objects by their names; what is not there is nil.
func at(value any, names ...string) any {
	for _, name := range names {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[name]
	}
	return value
}

// text gives a text, number or bool as text; anything else as "".
func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	return ""
}

func contentType(r Request) (kind string, params map[string]string) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return "", nil
	}
	return kind, params
}

// form reads the fields of a form body; ok is false when it is none.
func form(r Request) (url.Values, bool) {
	kind, params := contentType(r)
	switch kind {
	case "multipart/form-data":
		return multipartForm(r.Body, params["boundary"])
	case "application/x-www-form-urlencoded", "":
		if bytes.Count(r.Body, []byte("&")) >= maxFormFields {
			return nil, false
		}
		return fieldsOf(string(r.Body)), true
	}
	return nil, false
}

// fieldsOf reads a form as browsers and the providers' libraries do, who know no
// broken form: what is no escape stands for itself, and so does a semicolon.
func fieldsOf(text string) url.Values {
	values := url.Values{}
	for pair := range strings.SplitSeq(text, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		values.Add(unescaped(name), unescaped(value))
	}
	return values
}

// unescaped decodes the escapes that are whole.
func unescaped(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(text):
			var one [1]byte
			if _, err := hex.Decode(one[:], []byte(text[i+1:i+3])); err == nil {
				c, i = one[0], i+2
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

func multipartForm(raw []byte, boundary string) (url.Values, bool) {
	if boundary == "" {
		return nil, false
	}
	values := url.Values{}
	parts := multipart.NewReader(bytes.NewReader(raw), boundary)
	for range maxFormFields {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return values, true
		}
		if err != nil {
			return nil, false
		}
		if part.FileName() != "" {
			continue // not looked at here
		}
		value, err := io.ReadAll(io.LimitReader(part, maxFormPartBytes+1))
		if err != nil || len(value) > maxFormPartBytes {
			return nil, false
		}
		values.Add(part.FormName(), string(value))
	}
	return nil, false
}

func unreadable(detail string) error {
	return &Error{Code: MalformedBody, Header: "Content-Type", Detail: detail}
}

const adyenSignature = "HmacSignature"

// readAdyen checks the header over the whole body when it is there, and every item
// of a notification otherwise.
func readAdyen(r Request) (reading, error) {
	if r.Header.Values(adyenSignature) != nil {
		return bodyRules(place{adyenSignature, "", asBase64, sha256.New}).read(r)
	}
	if kind, _ := contentType(r); kind == "application/x-www-form-urlencoded" {
		values, ok := form(r)
		if !ok {
			return reading{}, unreadable("the body is not the form it should be, so its signature cannot be found")
		}
		for name, each := range values {
			if len(each) > 1 {
				return reading{}, unreadable("the field " + shorten(name) + " is given more than once")
			}
		}
		p, err := adyenProof(values.Get("additionalData.hmacSignature"), values.Get("pspReference"), values.Get("originalReference"), values.Get("merchantAccountCode"),
			values.Get("merchantReference"), values.Get("value"), values.Get("currency"), values.Get("eventCode"), values.Get("success"))
		return reading{proofs: []proof{p}}, err
	}
	items, err := adyenItems(r.Body)
	if err != nil {
		return reading{}, err
	}
	var got reading
	for _, item := range items {
		p, err := adyenProof(text(at(item, "additionalData", "hmacSignature")), text(at(item, "pspReference")), text(at(item, "originalReference")),
			text(at(item, "merchantAccountCode")), text(at(item, "merchantReference")), text(at(item, "amount", "value")), text(at(item, "amount", "currency")),
			text(at(item, "eventCode")), text(at(item, "success")))
		if err != nil {
			return reading{}, err
		}
		got.proofs = append(got.proofs, p)
	}
	return got, nil
}

func adyenItems(raw []byte) ([]any, error) {
	body, ok := decodeBody(raw)
	if !ok {
		return nil, unreadable("the body is not JSON, so its signature cannot be found")
	}
	entries, _ := at(body, "notificationItems").([]any)
	if len(entries) == 0 || len(entries) > maxAdyenItems {
		return nil, &Error{Code: signature.MissingSignature, Header: adyenSignature,
			Detail: "there is neither the header HmacSignature nor a list notificationItems of 1 to 100 items that carry hmacSignature"}
	}
	items := make([]any, len(entries))
	for i, entry := range entries {
		items[i] = at(entry, "NotificationRequestItem")
	}
	return items, nil
}

// adyenProof joins the signed fields by colons; nothing is escaped.
func adyenProof(sign string, fields ...string) (proof, error) {
	const where = "additionalData.hmacSignature"
	if sign == "" {
		return proof{}, &Error{Code: signature.MissingSignature, Header: where, Detail: "an item carries no " + where + "; give the webhook an HMAC key in Adyen's Customer Area"}
	}
	b, ok := asBase64.decode(sign, sha256.Size)
	if !ok {
		return proof{}, &Error{Code: signature.MalformedSignature, Header: where, Detail: where + " must hold " + asBase64.describe(sha256.Size)}
	}
	return proof{where, sha256.New, [][]byte{b}, []content{{[]byte(strings.Join(fields, ":"))}}}, nil
}

// mailgunFields are the signed parts of a Mailgun request, of the JSON body or the
// older form.
func mailgunFields(r Request) (stamp, token, sign string, ok bool) {
	if trimmed := bytes.TrimLeft(r.Body, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		body, ok := decodeBody(r.Body)
		s := at(body, "signature")
		return text(at(s, "timestamp")), text(at(s, "token")), text(at(s, "signature")), ok
	}
	values, ok := form(r)
	if ok && (len(values["timestamp"]) > 1 || len(values["token"]) > 1 || len(values["signature"]) > 1) {
		return "", "", "", false
	}
	return values.Get("timestamp"), values.Get("token"), values.Get("signature"), ok
}

func readMailgun(r Request) (reading, error) {
	stamp, token, sign, ok := mailgunFields(r)
	if !ok {
		return reading{}, unreadable("the body is neither Mailgun's JSON nor its form, so its signature cannot be found")
	}
	if sign == "" || token == "" {
		return reading{}, &Error{Code: signature.MissingSignature, Header: "signature", Detail: "the body carries no signature with timestamp and token"}
	}
	at, err := parseTime(stamp, "signature.timestamp")
	if err != nil {
		return reading{}, err
	}
	b, ok := asHex.decode(sign, sha256.Size)
	if !ok {
		return reading{}, &Error{Code: signature.MalformedSignature, Header: "signature", Detail: "the body's signature must hold " + asHex.describe(sha256.Size)}
	}
	return reading{proofs: []proof{{"signature", sha256.New, [][]byte{b}, []content{{[]byte(stamp), []byte(token)}}}}, at: at, timed: true, timeHeader: "signature.timestamp"}, nil
}

const (
	twilioSignature = "X-Twilio-Signature"
	twilioSettings  = "X-Twilio-Webhooks-Signature-Settings"
)

func readTwilio(r Request) (reading, error) {
	sign, err := single(r.Header, twilioSignature, signature.MissingSignature)
	if err != nil {
		return reading{}, err
	}
	newHash, err := twilioHash(r.Header)
	if err != nil {
		return reading{}, err
	}
	b, ok := asBase64.decode(sign, newHash().Size())
	if !ok {
		return reading{}, malformed(twilioSignature, asBase64.describe(newHash().Size()))
	}
	fields, err := twilioFields(r)
	if err != nil {
		return reading{}, err
	}
	var contents []content
	for _, u := range twilioURLs(r.URL) {
		contents = append(contents, content{[]byte(u), []byte(fields)})
	}
	return reading{proofs: []proof{{twilioSignature, newHash, [][]byte{b}, contents}}}, nil
}

// twilioHash is SHA-1 for the account's auth token. A webhook that is signed with a
// shared key says so, and its algorithm, in a header of its own:
// key=webhooks_sharedkey_…,algorithm=HMAC_SHA256.
func twilioHash(h http.Header) (func() hash.Hash, error) {
	values := h.Values(twilioSettings)
	if len(values) > 1 {
		_, err := single(h, twilioSettings, signature.MissingSignature)
		return nil, err
	}
	algorithm := "HMAC_SHA1"
	for _, setting := range strings.Split(strings.Join(values, ""), ",") {
		name, value, _ := strings.Cut(setting, "=")
		if value = strings.TrimSpace(value); strings.TrimSpace(name) == "algorithm" && value != "" {
			algorithm = strings.ToUpper(value)
			break
		}
	}
	switch algorithm {
	case "HMAC_SHA1":
		return sha1.New, nil
	case "HMAC_SHA256":
		return sha256.New, nil
	}
	return nil, malformed(twilioSettings, "algorithm=HMAC_SHA1 or algorithm=HMAC_SHA256")
}

// twilioFields is what follows the URL in the signed text: the fields of a form,
// sorted, each value once; nothing when the URL names the digest of the body, or
// when there is no body.
func twilioFields(r Request) (string, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" {
		return "", &Error{Code: MalformedURL, Header: twilioSignature, Detail: "the address that Twilio posted to is not known here; set public_url"}
	}
	if sums := u.Query()["bodySHA256"]; len(sums) > 0 {
		digest := sha256.Sum256(r.Body)
		b, ok := asHex.decode(sums[0], sha256.Size)
		if len(sums) != 1 || !ok || [sha256.Size]byte(b) != digest {
			return "", &Error{Code: signature.BadSignature, Header: twilioSignature, Detail: "bodySHA256 in the address is not the SHA-256 of the body"}
		}
		return "", nil
	}
	if len(r.Body) == 0 {
		return "", nil
	}
	values, ok := form(r)
	if !ok {
		return "", unreadable("the body is no form and bodySHA256 is not in the address: nothing says that the body was signed")
	}
	var b strings.Builder
	for _, name := range sortedNames(values) {
		each := slices.Sorted(slices.Values(values[name]))
		for _, value := range slices.Compact(each) {
			b.WriteString(name)
			b.WriteString(value)
		}
	}
	return b.String(), nil
}

func sortedNames(values url.Values) []string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
