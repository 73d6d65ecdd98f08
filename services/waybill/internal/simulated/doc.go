// Package simulated is the misbehaving world around Waybill: a third party, a
// partner's status API, a partner's sender and a partner's CSV file. The demo, the
// torture and `waybill simulate` use it; it imports nothing of the services.
//
// Everything is decided by a seed, not by time or order: whether a request is
// treated badly follows from the seed, its key and how often that key came, so
// two runs with the same requests misbehave alike at any concurrency.
//
// [ThirdParty] serves POST /requests (honours Idempotency-Key), GET /state and
// GET and POST /control. [Partner] serves POST /status (signed by Standard
// Webhooks), /state and /control. /control answers loopback only. Both are plain
// http.Handlers for any listener; Close ends whatever still hangs.
//
// Memory is bounded: keys are kept as 16-byte hashes up to a cap, beyond which
// new keys are refused with 503; journals go to disk, one JSON line per request,
// written before the answer leaves.
package simulated
