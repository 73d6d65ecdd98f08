// Package egress is the one HTTP client that calls other people's systems.
//
// Guarded means:
//
//   - the dialer checks the address it is about to connect to, after name
//     resolution, so that no name, redirect, odd spelling or rebinding DNS
//     server leads inside. Only public addresses are dialled; Options.AllowPrivate
//     adds loopback and the private networks. Cloud metadata addresses are
//     never dialled, whatever is allowed;
//   - redirects are not followed (a 3xx is returned as it is) and proxies are
//     not taken from the environment;
//   - the answer's header, body and decompressed body are bounded, and one
//     deadline covers everything from the name lookup to the body's last byte.
//
// One Do is one request on the wire: a request with a body is never silently
// repeated on another connection once a byte of it may have arrived.
//
// Do always returns an Interaction, also when it fails: who called what, what
// came back, capped and redacted, found by its tracking id, which the other
// side sees in the header Trackingid. Errors are *Error; their class comes from
// fault.Of.
package egress
