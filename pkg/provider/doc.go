// Package provider knows how third parties send webhooks: how each proves who it
// is, which id its events carry, which questions it asks before it sends any. It
// looks at the raw request, before anything parses it.
//
// # Schemes
//
// The ones of many:
//
//	standard-webhooks  webhook-id, -timestamp, -signature: v1 (HMAC) and v1a (ed25519)
//	hmac               an HMAC that is described by Config (below)
//	api-key            X-Api-Key, "Authorization: Bearer …" or a header of one's own naming
//	basic              user name and password
//	none               nothing is proven: for HTML forms only
//
// The ones of one provider; the secret is what the provider shows, unless said:
//
//	svix         as standard-webhooks, also under svix-
//	stripe       Stripe-Signature: t=…,v1=…; several v1 while a secret rolls
//	github       X-Hub-Signature-256, or the older X-Hub-Signature of old servers
//	shopify      X-Shopify-Hmac-Sha256
//	slack        X-Slack-Signature: v0=… over v0:timestamp:body
//	gitlab       a signing token (whsec_…) as standard-webhooks, any other secret as X-Gitlab-Token
//	bitbucket    X-Hub-Signature: sha256=…, Cloud and Data Center
//	gitea        X-Gitea-Signature, also of Forgejo and Gogs
//	twilio       X-Twilio-Signature over the URL and the form, or over the URL with bodySHA256;
//	             SHA-1 under the auth token, SHA-256 under a shared key when the request says so
//	sendgrid     ECDSA; the secret is the public verification key
//	adyen        hmacSignature of each item, or the header HmacSignature; the secret is the hex key
//	paddle       Paddle-Signature: ts=…;h1=…
//	square       x-square-hmacsha256-signature over URL and body
//	woocommerce  X-WC-Webhook-Signature
//	mailgun      timestamp, token and signature in the body
//	meta         X-Hub-Signature-256; a secret "token:…" is the verify token of the handshake
//	zoom         x-zm-signature: v0=… over v0:timestamp:body
//	discord      ed25519; the secret is the application's public key
//
// # What a signature covers
//
// Most cover the whole body. Not so: gitlab's token, api-key and basic cover
// nothing, mailgun covers its timestamp and token only, adyen's items cover eight
// fields (pspReference, originalReference, merchantAccountCode, merchantReference,
// amount, eventCode, success). Whoever can read one such request can send its like;
// take these over TLS only.
//
// # Time
//
// standard-webhooks, svix, stripe, slack, sendgrid, paddle, mailgun, zoom, discord,
// gitlab's signing token and an hmac with a timestamp sign the time of sending.
// A request is refused when that lies further from now than Config.Tolerance (5
// minutes unless set), past and future alike. The libraries of SendGrid, Mailgun and
// Paddle leave this to the receiver. The limits are inside the tolerance.
//
// # Event ids
//
// [Verified.EventID] is the default idempotency key of a webhook source. An id is
// signed (nobody can change it who has not the secret) with standard-webhooks, svix,
// gitlab's signing token, stripe and square and paddle and zoom (in the signed body),
// slack's event_id, sendgrid's sg_event_id and adyen's pspReference:eventCode:success.
// It is only a header or an unsigned part with github (X-GitHub-Delivery), shopify
// (X-Shopify-Event-Id with topic and the body's digest), gitlab's token, bitbucket (X-Request-UUID), gitea
// (X-Gitea-Delivery), woocommerce (X-WC-Webhook-Delivery-ID), twilio
// (I-Twilio-Idempotency-Token) and mailgun (event-data.id): who repeats a captured
// request with another id makes another record of it. Where that matters, name an
// idempotency_key that lies in the signed body.
//
// # Decisions where the providers' own libraries differ
//
//   - Hexadecimal signatures may be in upper case: they name the same bytes.
//   - A header that carries a signature, an id or a time twice is refused, and so is
//     a parameter of such a header, except the one that carries signatures.
//   - A time must be plain digits; a time from the future is judged like one from the past.
//   - When a newer and an older signature header are both there, only the newer counts;
//     with svix its own come before those of Standard Webhooks.
//   - An empty body is refused where all libraries do (github, shopify).
//   - A form is read as browsers read it: what is no escape stands for itself.
//   - Blanks around the parameters of a signature header are not cut away; those around
//     a time of Standard Webhooks and a signature of SendGrid are.
//   - Of shopify only the signature is looked at, not the unsigned headers beside it.
//
// # Refusals
//
// Every scheme takes several live secrets (rotation), tries all of them whatever
// matched first, compares in constant time and says which one matched. Empty secrets
// are refused by [New], empty and short signatures before any comparison. A refusal
// is an [*Error] with a [Code] and is the sender's fault (401); its text holds no
// secret, no key and no signature.
package provider
