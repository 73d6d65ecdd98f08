// Package signature signs and verifies messages by the Standard Webhooks
// specification. It is used wherever Waybill takes or gives a signed message:
// ingest verifies partners, the acknowledger signs statuses, and the command
// waybill does both.
//
// A message is an id, a time and a body. What is signed is
//
//	id + "." + unix seconds + "." + raw body
//
// and three headers carry the rest: webhook-id, webhook-timestamp and
// webhook-signature, a list of signatures separated by spaces. The same headers
// under the prefix svix- are read too; when any webhook- header is there, only
// the webhook- headers count.
//
// # Keys
//
// [ParseKey] reads four forms, each base64 after its prefix:
//
//	whsec_…   a shared secret of 24 to 75 bytes: signs and verifies v1 (HMAC-SHA256)
//	(none)    the same, as some libraries print it
//	whsk_…    an ed25519 seed (32 bytes) or private key (64): signs and verifies v1a
//	whpk_…    an ed25519 public key (32 bytes): verifies v1a only
//
// A key never prints itself: every fmt verb gives "[key hidden]".
//
// # Rotation
//
// A [Verifier] takes several keys and says which one matched; [Sign] signs with
// several keys at once, so a receiver that knows either of them accepts.
//
// # Refusals
//
// Every refusal is an [*Error] with a [Code]; its text names the header and what
// would be right, and never repeats a secret or a signature. Raw bytes are
// verified before anything parses them, digests are compared in constant time,
// and all keys are tried whatever matched first. A header given twice is refused
// (two readers could disagree on which counts), and so is an id that contains a
// full stop (it would let a captured message be cut in two at another place).
//
// The clock is the caller's: [Verifier.Verify] judges the timestamp by the time
// it is given, past and future alike.
package signature
