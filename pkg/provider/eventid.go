package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/mail"
	"strconv"
	"strings"
)

// digestChars of a digest of the body tell apart requests whose id is not quite
// theirs alone.
const digestChars = 16

func bodyDigest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])[:digestChars]
}

// EventID gives the id by which a provider knows the event of a request, the same
// when it sends the event again; "" when there is none. The package comment says
// which are signed. It looks at no signature: [Verified.EventID] is what to trust.
func EventID(c Config, r Request) string {
	switch c.Scheme {
	case GitHub:
		return r.Header.Get("X-GitHub-Delivery")
	case Gitea:
		return first(r.Header, "X-Forgejo-Delivery", "X-Gitea-Delivery", "X-Gogs-Delivery", "X-GitHub-Delivery")
	case GitLab:
		// The event's UUID is shared by hooks that set each other off: the last resort.
		return first(r.Header, "Idempotency-Key", "X-Gitlab-Webhook-UUID", "X-Gitlab-Event-UUID")
	case Bitbucket:
		return first(r.Header, "X-Request-UUID", "X-Request-Id")
	case Shopify:
		// Duplicates share their event's id, and so do the webhooks of several topics and
		// things that one act of the merchant brings about: what is no duplicate differs in
		// its topic or its body. The newer deliveries are told apart by their own id.
		if id := with(r.Header.Get("X-Shopify-Event-Id"), r.Header.Get("X-Shopify-Topic"), bodyDigest(r.Body)); id != "" {
			return id
		}
		return first(r.Header, "Shopify-Webhook-Id", "X-Shopify-Webhook-Id")
	case WooCommerce:
		// The delivery id is made of the webhook and the second: two orders changed in
		// one second would be one event without the body's digest.
		return with(r.Header.Get("X-WC-Webhook-Delivery-ID"), bodyDigest(r.Body))
	case HMAC:
		if c.ID != "" {
			return r.Header.Get(c.ID)
		}
		return ""
	case Twilio:
		return twilioEventID(r)
	case Slack:
		return slackEventID(r)
	case Mailgun:
		return mailgunEventID(r)
	case Stripe, Paddle, Square, SendGrid, Adyen, Discord:
		if id, ok := formEventID(c.Scheme, r); ok {
			return id
		}
		body, ok := decodeBody(r.Body)
		if !ok {
			return ""
		}
		return bodyEventID(c.Scheme, body)
	}
	return ""
}

// formEventID is for those of SendGrid and Adyen that come as forms: a mail that was
// received, and the older way of payments' notifications. False: it is no form.
func formEventID(s Scheme, r Request) (string, bool) {
	kind, _ := contentType(r)
	isMail := s == SendGrid && kind == "multipart/form-data"
	if !isMail && (s != Adyen || kind != "application/x-www-form-urlencoded") {
		return "", false
	}
	values, ok := form(r)
	if !ok {
		return "", true
	}
	if !isMail {
		return with(values.Get("pspReference"), values.Get("eventCode"), values.Get("success")), true
	}
	head := values.Get("headers")
	if head == "" { // then it was sent on raw
		head = values.Get("email")
	}
	message, err := mail.ReadMessage(strings.NewReader(strings.TrimRight(head, "\r\n") + "\r\n\r\n"))
	if err != nil {
		return "", true
	}
	// One mail to several of our addresses may come once for each.
	return with(message.Header.Get("Message-Id"), bodyDigest([]byte(values.Get("envelope")))), true
}

// with joins the parts of an id; without the first there is none.
func with(id string, parts ...string) string {
	if id == "" {
		return ""
	}
	for _, p := range parts {
		if p != "" {
			id += ":" + p
		}
	}
	return id
}

func bodyEventID(s Scheme, body any) string {
	switch s {
	case Stripe, Discord:
		return text(at(body, "id"))
	case Paddle, Square:
		return text(at(body, "event_id"))
	case SendGrid:
		events, isList := body.([]any)
		if !isList {
			return text(at(body, "sg_event_id"))
		}
		return joinedID(events, func(e any) string { return text(at(e, "sg_event_id")) })
	case Adyen:
		if items, ok := at(body, "notificationItems").([]any); ok {
			return joinedID(items, func(e any) string {
				item := at(e, "NotificationRequestItem")
				return with(text(at(item, "pspReference")), text(at(item, "eventCode")), text(at(item, "success")))
			})
		}
		return adyenPlatformID(body)
	}
	return ""
}

// adyenPlatformID is for the newer webhooks, which have an event id or else tell
// the states of one resource apart by number or time. What has no number may have
// happened twice in one second: the body's digest tells.
func adyenPlatformID(body any) string {
	if id := text(at(body, "eventId")); id != "" {
		return id
	}
	if id := text(at(body, "data", "eventId")); id != "" {
		return id
	}
	kind, number := text(at(body, "type")), text(at(body, "data", "sequenceNumber"))
	stamp := firstText(at(body, "timestamp"), at(body, "createdAt"), at(body, "data", "creationDate"))
	id := firstText(at(body, "data", "id"), at(body, "id"), adyenResource(body, kind))
	switch created := strings.HasSuffix(kind, ".created"); {
	case created && id != "", number != "":
		return with(id, kind, number, stamp)
	case kind == "", stamp == "":
		return ""
	case id == "":
		return with(kind, stamp, valueDigest(body))
	}
	return with(id, kind, stamp, valueDigest(body))
}

// adyenResource is the id of the resource that the event's type names, such as that
// of data.accountHolder with balancePlatform.accountHolder.created.
func adyenResource(body any, kind string) any {
	words := strings.Split(kind, ".")
	if len(words) < 3 {
		return nil
	}
	return at(body, "data", words[len(words)-2], "id")
}

func firstText(values ...any) string {
	for _, value := range values {
		if t := text(value); t != "" {
			return t
		}
	}
	return ""
}

// valueDigest is that of a decoded body, however it was written.
func valueDigest(body any) string {
	raw, err := json.Marshal(body)
	if err != nil { // what was decoded can be encoded
		return ""
	}
	return bodyDigest(raw)
}

// joinedID is the one item's id, or a digest of all of them; "" when one has none.
func joinedID(items []any, of func(any) string) string {
	var all []string
	for _, item := range items {
		id := of(item)
		if id == "" {
			return ""
		}
		all = append(all, id)
	}
	switch len(all) {
	case 0:
		return ""
	case 1:
		return all[0]
	}
	sum := sha256.Sum256([]byte(strings.Join(all, "\n")))
	return hex.EncodeToString(sum[:])
}

func twilioEventID(r Request) string {
	if token := r.Header.Get("I-Twilio-Idempotency-Token"); token != "" {
		return token
	}
	values, ok := form(r)
	if !ok {
		body, _ := decodeBody(r.Body)
		if events, isList := body.([]any); isList {
			return joinedID(events, func(e any) string { return text(at(e, "id")) })
		}
		return text(at(body, "id"))
	}
	for _, sid := range []string{"MessageSid", "SmsSid"} {
		if id := values.Get(sid); id != "" {
			status := values.Get("MessageStatus")
			if status == "" {
				status = values.Get("SmsStatus")
			}
			return with(id, status)
		}
	}
	// One call asks many times in one state: what was dialled tells them apart.
	return with(values.Get("CallSid"), values.Get("CallStatus"), bodyDigest(r.Body))
}

func slackEventID(r Request) string {
	if kind, _ := contentType(r); kind == "application/x-www-form-urlencoded" {
		values, ok := form(r)
		if !ok {
			return ""
		}
		if payload := values.Get("payload"); payload != "" {
			body, _ := decodeBody([]byte(payload))
			return slackActionID(body)
		}
		return values.Get("trigger_id")
	}
	body, _ := decodeBody(r.Body)
	return slackBodyID(body)
}

// slackActionID is that of what a person did: with most it is the id that opens a
// dialog in answer; what can be answered by none is told apart by its time or view.
func slackActionID(body any) string {
	if id := text(at(body, "trigger_id")); id != "" {
		return id
	}
	if view := text(at(body, "view", "id")); view != "" {
		return with(text(at(body, "type")), view)
	}
	if stamp := text(at(body, "action_ts")); stamp != "" {
		return with(text(at(body, "type")), stamp, text(at(body, "user", "id")))
	}
	return ""
}

func slackBodyID(body any) string {
	if id := text(at(body, "event_id")); id != "" {
		return id
	}
	if minute := text(at(body, "minute_rate_limited")); minute != "" {
		return with(text(at(body, "type")), text(at(body, "team_id")), minute)
	}
	return ""
}

func mailgunEventID(r Request) string {
	body, ok := decodeBody(r.Body)
	if id := text(at(body, "event-data", "id")); ok && id != "" {
		return id
	}
	_, token, _, ok := mailgunFields(r)
	if !ok {
		return ""
	}
	return token
}

// BodyEventID gives the event id that a decoded JSON body carries in the scheme's
// way, "" if none: for bodies that came by another way than a webhook, such as a
// poll of the provider's list of events.
func BodyEventID(s Scheme, body any) string {
	if s == Mailgun {
		return text(at(body, "event-data", "id"))
	}
	if s == Slack {
		return slackBodyID(body)
	}
	return bodyEventID(s, body)
}

// ItemEventID gives the event id of one item, from 0, of a request that carries
// several as a JSON list or as lines: the item's own where the provider gives one
// (SendGrid, Twilio's event streams), else the request's with the item's number. The
// item is JSON as it came.
func ItemEventID(s Scheme, requestID string, index int, item []byte) string {
	name := ""
	switch s {
	case SendGrid:
		name = "sg_event_id"
	case Twilio:
		name = "id"
	}
	if name != "" {
		body, _ := decodeBody(item)
		if id := text(at(body, name)); id != "" {
			return id
		}
	}
	if requestID == "" {
		return ""
	}
	return requestID + ":" + strconv.Itoa(index)
}
