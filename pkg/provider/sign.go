package provider

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"waybill.internal/pkg/signature"
)

// Sign signs a request as the provider would at that time, with the first of the
// configured secrets, and gives it with what the signature adds: headers mostly,
// fields of the body with adyen and mailgun, a parameter of the URL with twilio's
// JSON. For sendgrid and discord the secret is the private key of a Pair. The URL
// is signed as it is given, or under Config.PublicURL: it is the one to post to. A request
// without an event id where the scheme signs one gets one of its content and time.
func Sign(c Config, r Request, now time.Time) (Request, error) {
	if err := c.check(); err != nil {
		return Request{}, fmt.Errorf("sign %s: %w", c.Scheme, err)
	}
	posted := r.URL
	r.URL = publicURL(c.PublicURL, r.URL)
	r.Header = r.Header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	secret := ""
	for _, s := range c.Secrets {
		if c.Scheme != Meta || !strings.HasPrefix(s, TokenPrefix) {
			secret = s
			break
		}
	}
	signed, err := c.sign(r, secret, now)
	if err != nil {
		return Request{}, fmt.Errorf("sign %s: %w", c.Scheme, err)
	}
	if c.PublicURL != "" { // what was signed is not where it is posted
		base, _, _ := strings.Cut(posted, "?")
		if _, query, ok := strings.Cut(signed.URL, "?"); ok {
			base += "?" + query
		}
		signed.URL = base
	}
	return signed, nil
}

func (c Config) sign(r Request, secret string, now time.Time) (Request, error) {
	stamp := strconv.FormatInt(now.Unix(), 10)
	key := []byte(secret)
	set := func(name, value string) (Request, error) {
		r.Header.Set(name, value)
		return r, nil
	}
	switch c.Scheme {
	case None:
		return r, nil
	case APIKey, Basic:
		return c.show(r, secret)
	case StandardWebhooks, Svix:
		return signStandard(r, secret, c.Scheme == Svix, now)
	case GitLab:
		if strings.HasPrefix(secret, signingToken) {
			return signStandard(r, secret, false, now)
		}
		return set(gitLabToken, secret)
	case GitHub, Meta:
		return set("X-Hub-Signature-256", "sha256="+asHex.encode(mac(sha256.New, key, r.Body)))
	case Bitbucket:
		return set("X-Hub-Signature", "sha256="+asHex.encode(mac(sha256.New, key, r.Body)))
	case Gitea:
		return set("X-Gitea-Signature", asHex.encode(mac(sha256.New, key, r.Body)))
	case Shopify:
		return set("X-Shopify-Hmac-Sha256", asBase64.encode(mac(sha256.New, key, r.Body)))
	case WooCommerce:
		return set("X-WC-Webhook-Signature", asBase64.encode(mac(sha256.New, key, r.Body)))
	case Square:
		return set(squareSignature, asBase64.encode(mac(sha256.New, key, []byte(r.URL), r.Body)))
	case Slack:
		r.Header.Set("X-Slack-Request-Timestamp", stamp)
		return set("X-Slack-Signature", "v0="+asHex.encode(mac(sha256.New, key, []byte("v0:"+stamp+":"), r.Body)))
	case Zoom:
		r.Header.Set("x-zm-request-timestamp", stamp)
		return set("x-zm-signature", "v0="+asHex.encode(mac(sha256.New, key, []byte("v0:"+stamp+":"), r.Body)))
	case Stripe:
		return set("Stripe-Signature", "t="+stamp+",v1="+asHex.encode(mac(sha256.New, key, []byte(stamp+"."), r.Body)))
	case Paddle:
		return set("Paddle-Signature", "ts="+stamp+";h1="+asHex.encode(mac(sha256.New, key, []byte(stamp+":"), r.Body)))
	case SendGrid:
		return signSendGrid(r, secret, stamp)
	case Discord:
		return signDiscord(r, secret, stamp)
	case Adyen:
		return signAdyen(r, secret)
	case Mailgun:
		return signMailgun(r, key, stamp)
	case Twilio:
		return signTwilio(r, key)
	case HMAC:
		return c.signDescribed(r, key, now)
	}
	return Request{}, fmt.Errorf("unknown scheme %q, known are %s", c.Scheme, known())
}

func mac(newHash func() hash.Hash, key []byte, parts ...[]byte) []byte {
	return content(parts).sum(hmac.New(newHash, key))
}

// show gives a key or a password; of a digest only the partner knows the key.
func (c Config) show(r Request, secret string) (Request, error) {
	if strings.HasPrefix(secret, DigestPrefix) {
		return Request{}, errors.New("only the digest of the secret is known; give the secret itself")
	}
	switch {
	case c.Scheme == Basic && c.User != "":
		secret = c.User + ":" + secret
		fallthrough
	case c.Scheme == Basic:
		r.Header.Set(bearerHeader, "Basic "+base64.StdEncoding.EncodeToString([]byte(secret)))
	case c.Header != "":
		r.Header.Set(c.Header, secret)
	default:
		r.Header.Set(keyHeader, secret)
	}
	return r, nil
}

func signStandard(r Request, secret string, svix bool, now time.Time) (Request, error) {
	k, err := signature.ParseKey(secret)
	if err != nil {
		return Request{}, err
	}
	id := first(r.Header, signature.HeaderID, "svix-id")
	if id == "" {
		id = "msg_" + bodyDigest(append([]byte(now.Format(time.RFC3339Nano)), r.Body...))
	}
	h, err := signature.Sign([]signature.Key{k}, id, now, r.Body)
	if err != nil {
		return Request{}, err
	}
	for name, values := range h {
		if svix {
			r.Header.Del(name)
			name = strings.Replace(name, "Webhook-", "Svix-", 1)
		}
		r.Header[name] = values
	}
	return r, nil
}

func signSendGrid(r Request, secret, stamp string) (Request, error) {
	k, err := ecdsaPrivateKey(secret)
	if err != nil {
		return Request{}, err
	}
	s, err := k.Sign(rand.Reader, content{[]byte(stamp), r.Body}.sum(sha256.New()), crypto.SHA256)
	if err != nil {
		return Request{}, err
	}
	r.Header.Set(sendGridTimestamp, stamp)
	r.Header.Set(sendGridSignature, base64.StdEncoding.EncodeToString(s))
	return r, nil
}

func ecdsaPrivateKey(secret string) (*ecdsa.PrivateKey, error) {
	wrong := errors.New("signing needs the private key: PKCS #8 of an ECDSA P-256 key, in base64 or PEM; what verifies is only its public half")
	der, err := base64.StdEncoding.DecodeString(secret)
	if block, _ := pem.Decode([]byte(secret)); block != nil {
		der, err = block.Bytes, nil
	}
	if err != nil {
		return nil, wrong
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, wrong
	}
	k, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, wrong
	}
	return k, nil
}

func signDiscord(r Request, secret, stamp string) (Request, error) {
	seed, err := hex.DecodeString(secret)
	if err != nil || len(seed) != ed25519.SeedSize {
		return Request{}, fmt.Errorf("signing needs the private key: the seed as %d hex digits", 2*ed25519.SeedSize)
	}
	s := ed25519.Sign(ed25519.NewKeyFromSeed(seed), content{[]byte(stamp), r.Body}.joined())
	r.Header.Set(discordTimestamp, stamp)
	r.Header.Set(discordSignature, hex.EncodeToString(s))
	return r, nil
}

func signAdyen(r Request, secret string) (Request, error) {
	raw, err := hex.DecodeString(secret)
	if err != nil || len(raw) == 0 {
		return Request{}, errors.New("the key must be hexadecimal")
	}
	body, ok := decodeBody(r.Body)
	items, isList := at(body, "notificationItems").([]any)
	if !ok || !isList {
		r.Header.Set(adyenSignature, asBase64.encode(mac(sha256.New, raw, r.Body)))
		return r, nil
	}
	for i, entry := range items {
		item, isObject := at(entry, "NotificationRequestItem").(map[string]any)
		if !isObject {
			return Request{}, fmt.Errorf("notificationItems/%d has no NotificationRequestItem", i)
		}
		fields := []string{text(item["pspReference"]), text(item["originalReference"]), text(item["merchantAccountCode"]), text(item["merchantReference"]),
			text(at(item, "amount", "value")), text(at(item, "amount", "currency")), text(item["eventCode"]), text(item["success"])}
		more, isObject := item["additionalData"].(map[string]any)
		if !isObject {
			more = map[string]any{}
			item["additionalData"] = more
		}
		more["hmacSignature"] = asBase64.encode(mac(sha256.New, raw, []byte(strings.Join(fields, ":"))))
	}
	r.Body, err = json.Marshal(body)
	return r, err
}

func signMailgun(r Request, key []byte, stamp string) (Request, error) {
	body, _ := decodeBody(r.Body)
	object, ok := body.(map[string]any)
	if !ok {
		return Request{}, errors.New("the body must be a JSON object: the signature stands in it")
	}
	token := hex.EncodeToString(mac(sha256.New, key, r.Body, []byte(stamp)))[:50]
	object["signature"] = map[string]any{"timestamp": stamp, "token": token, "signature": asHex.encode(mac(sha256.New, key, []byte(stamp), []byte(token)))}
	var err error
	r.Body, err = json.Marshal(object)
	return r, err
}

func signTwilio(r Request, key []byte) (Request, error) {
	if kind, _ := contentType(r); kind == "application/json" {
		u, err := url.Parse(r.URL)
		if err != nil {
			return Request{}, fmt.Errorf("the address to post to: %w", err)
		}
		q := u.Query()
		digest := sha256.Sum256(r.Body)
		q.Set("bodySHA256", hex.EncodeToString(digest[:]))
		u.RawQuery = q.Encode()
		r.URL = u.String()
	}
	fields, err := twilioFields(r)
	if err != nil {
		return Request{}, err
	}
	newHash, err := twilioHash(r.Header)
	if err != nil {
		return Request{}, err
	}
	r.Header.Set(twilioSignature, asBase64.encode(mac(newHash, key, []byte(r.URL), []byte(fields))))
	return r, nil
}

func (c Config) signDescribed(r Request, key []byte, now time.Time) (Request, error) {
	t, err := c.template()
	if err != nil {
		return Request{}, err
	}
	newHash, _ := hashOf(c.Algorithm)
	e, _ := encodingOf(c.Encoding)
	stamp := strconv.FormatInt(now.Unix(), 10)
	parameter, inList := strings.CutSuffix(c.Timestamp, "=")
	if c.Timestamp != "" && !inList {
		r.Header.Set(c.Timestamp, stamp)
	}
	if c.ID != "" && r.Header.Get(c.ID) == "" {
		r.Header.Set(c.ID, "evt_"+bodyDigest(append([]byte(stamp), r.Body...)))
	}
	signed, err := t.render(r, stamp, r.Header.Get(c.ID))
	if err != nil {
		return Request{}, err
	}
	value := c.Prefix + e.encode(signed.sum(hmac.New(newHash, key)))
	if c.Parameter != "" {
		value = c.Parameter + "=" + value
	}
	if inList {
		value = parameter + "=" + stamp + "," + value
	}
	r.Header.Set(c.Header, value)
	return r, nil
}
