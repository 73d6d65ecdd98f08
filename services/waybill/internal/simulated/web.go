package simulated

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// Bounds of what a simulated party takes.
const (
	maxBody     = 1 << 20
	maxKeyBytes = 512
	maxHang     = 5 * time.Minute
	defaultKeys = 2_000_000
)

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone; it will ask again
}

func refuse(w http.ResponseWriter, status int, text string) {
	answer(w, status, map[string]string{"error": text})
}

func unavailable(w http.ResponseWriter, retryAfter int, text string) {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	refuse(w, http.StatusServiceUnavailable, text)
}

// readBody reads a bounded body and answers itself when it cannot.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		return b, true
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, "the body is larger than 1 MiB")
	} else {
		refuse(w, http.StatusBadRequest, "the body ended early")
	}
	return nil, false
}

// loopbackOnly keeps /control to this machine.
func loopbackOnly(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		addr, perr := netip.ParseAddr(host)
		if err != nil || perr != nil || !addr.Unmap().IsLoopback() {
			refuse(w, http.StatusForbidden, "control is open to loopback only")
			return
		}
		next(w, r)
	}
}

// reset cuts the connection without an answer, with a TCP reset where it can.
func reset(w http.ResponseWriter) {
	h, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler) // net/http's own way to drop a connection, caught by the server
	}
	c, _, err := h.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // closing now sends RST instead of FIN
	}
	_ = c.Close()
}

// hang waits, until the client has gone or the party is closed at the latest.
func hang(r *http.Request, closed <-chan struct{}, d time.Duration) {
	t := time.NewTimer(min(d, maxHang))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	case <-closed:
	}
}

func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}
