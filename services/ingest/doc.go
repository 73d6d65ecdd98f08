// Package ingest takes what partners send: webhooks over HTTP and files from a
// watched directory.
//
//	in:       an event of a partner, verified by its raw bytes
//	promised: a success is answered only after the record's row is committed;
//	          our own fault is 503 with Retry-After, never a false success and
//	          never a 4xx; every answer carries a Trackingid
//	out:      a durable record with a receipt, and a message on <prefix>.<lane>.work
//	crash:    what was committed and not yet published, the relay publishes; a
//	          file is resumed exactly after its last committed rows; what was not
//	          answered may or may not be stored, and sending it again settles that
package ingest
