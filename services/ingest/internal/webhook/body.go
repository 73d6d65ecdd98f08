package webhook

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"waybill.internal/pkg/fault"
)

const (
	// budgetStep is how much of a body is admitted at once: what a sender only
	// announces takes no room from others.
	budgetStep = 64 << 10
	// bodyBudget bounds the bytes of all bodies that are read or wait for their commit.
	bodyBudget = 32<<20 + 2*budgetStep
	// bodyShare is at most how much of it one source has: half, and room for one body of the largest max_body.
	bodyShare = bodyBudget / 2
	// budgetWait is how long a request waits for room; then 503.
	budgetWait = 200 * time.Millisecond
	// A body that has not come bodyGrace after its first byte was waited for must have come at
	// minBodyRate bytes a second since, and whole within bodyLongest; else 408.
	bodyGrace   = 5 * time.Second
	minBodyRate = 16 << 10
	bodyLongest = 60 * time.Second
	// BodyTimeout is how long a sender may take for a body that nobody reads.
	BodyTimeout = 10 * time.Second
	// answerTimeout bounds how long an answer is waited for, and sent.
	answerTimeout = 15 * time.Second
	// gzip may hold this many times its size, once it is larger than ratioFree.
	maxRatio  = 200
	ratioFree = 1 << 20
	// maxRecord bounds one record.
	maxRecord = 1 << 20
)

var (
	// errNoRoom says that bodies under way fill their budget.
	errNoRoom = errors.New("the bodies under way fill their budget")
	errSlow   = errors.New("the body comes too slowly")
	errLarge  = errors.New("the body is too large")
	errBomb   = errors.New("the gzip holds too much")
)

// paced cuts off a sender that is slower than the least rate.
type paced struct {
	body    io.Reader
	control *http.ResponseController
	start   time.Time
	limit   int64 // of the bytes as they are sent
	n       int64
}

func (p *paced) Read(b []byte) (int, error) {
	allowed := min(bodyGrace+time.Duration(p.n)*time.Second/minBodyRate, bodyLongest)
	_ = p.control.SetReadDeadline(p.start.Add(allowed)) // a server that has no deadlines has its own bounds
	n, err := p.body.Read(b)
	p.n += int64(n)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errSlow
	case p.n > p.limit:
		err = errLarge // a gzip of nothing has no end of its own
	}
	return n, err
}

// unpacked bounds what a gzip may hold.
type unpacked struct {
	zip    *gzip.Reader
	packed *paced
	n      int64
}

func (u *unpacked) Read(b []byte) (int, error) {
	n, err := u.zip.Read(b)
	u.n += int64(n)
	if u.n > ratioFree && u.n > maxRatio*u.packed.n {
		return n, errBomb
	}
	return n, err
}

// read takes the body under the budget of all bodies, unpacked. The caller
// releases the budget when the body is no longer held.
func (x *exchange) read() (release func(), ok bool) {
	limit, size := int64(x.source.Webhook.MaxBody), x.r.ContentLength
	if size > limit {
		x.refuse(http.StatusRequestEntityTooLarge, fault.New(fault.Data, "body_too_large", "the body has %d bytes, at most %d are taken", size, limit))
		return nil, false
	}
	packed, err := x.packed()
	if err != nil {
		x.w.Header().Set("Accept-Encoding", "gzip, identity")
		x.refuse(http.StatusUnsupportedMediaType, err)
		return nil, false
	}
	if packed {
		size = -1
	}
	var taken int64
	release = func() {
		x.budget.Release(taken)
		x.gate.share.Release(taken)
	}
	control := http.NewResponseController(x.w)
	raw, err := x.readSteps(x.stream(control, packed, limit), size, limit, &taken)
	// The server's own deadline for the answer counts from the header, and may have passed with a slow body.
	_ = control.SetWriteDeadline(time.Now().Add(answerTimeout))
	if err == nil {
		x.raw = raw
		_ = control.SetReadDeadline(time.Time{}) // one that passes later would end the request's context
		return release, true
	}
	release()
	x.unread(err, limit)
	return nil, false
}

// packed tells whether the body is gzip; any other coding is an error.
func (x *exchange) packed() (bool, error) {
	coding := strings.ToLower(strings.Join(x.r.Header.Values("Content-Encoding"), ", "))
	switch coding {
	case "", "identity":
		return false, nil
	case "gzip", "x-gzip":
		return true, nil
	}
	return false, fault.New(fault.Data, "unsupported_content_encoding", "the Content-Encoding is %.60q; taken is gzip, or none", coding)
}

func (x *exchange) stream(control *http.ResponseController, packed bool, limit int64) io.Reader {
	slow := &paced{body: x.r.Body, control: control, start: time.Now(), limit: limit}
	if !packed {
		return slow
	}
	// The header of the gzip is read with the first byte that is asked for.
	return &lazy{open: func() (io.Reader, error) {
		zip, err := gzip.NewReader(slow)
		return &unpacked{zip: zip, packed: slow}, err
	}}
}

// lazy opens a reader when it is first read.
type lazy struct {
	open func() (io.Reader, error)
	r    io.Reader
}

func (l *lazy) Read(b []byte) (int, error) {
	if l.r == nil {
		r, err := l.open()
		if err != nil {
			return 0, err
		}
		l.r = r
	}
	return l.r.Read(b)
}

// unread answers a body that could not be read.
func (x *exchange) unread(err error, limit int64) {
	if !errors.Is(err, errNoRoom) {
		x.w.Header().Set("Connection", "close") // what is left of it is not waited for
	}
	var bad *fault.Error
	status := http.StatusBadRequest
	switch {
	case errors.Is(err, errNoRoom):
		x.unavailable(err)
		return
	case errors.Is(err, errSlow):
		status = http.StatusRequestTimeout
		bad = fault.Wrap(err, fault.Data, "too_slow", "the body came slower than %d bytes a second, or took more than %s; send it faster, or in parts", minBodyRate, bodyLongest)
	case errors.Is(err, errLarge):
		status = http.StatusRequestEntityTooLarge
		bad = fault.Wrap(err, fault.Data, "body_too_large", "the body has more than %d bytes", limit)
	case errors.Is(err, errBomb):
		status = http.StatusRequestEntityTooLarge
		bad = fault.Wrap(err, fault.Data, "gzip_too_large", "the gzip holds more than %d times its size; send it unpacked", maxRatio)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), strings.HasPrefix(err.Error(), "flate:"):
		bad = fault.Wrap(err, fault.Data, "gzip_unreadable", "the body is not the gzip that its Content-Encoding says")
	default:
		bad = fault.Wrap(err, fault.Data, "body_incomplete", "the body could not be read to its end")
	}
	x.refuse(status, bad)
}

// readSteps reads a body of the announced length (below 0: unknown), taking room
// for each part before it is read.
func (x *exchange) readSteps(body io.Reader, length, limit int64, taken *int64) ([]byte, error) {
	var raw []byte
	for {
		step := min(int64(budgetStep), limit+1-int64(len(raw))) // one more than the limit shows that there is more
		if length >= 0 {
			step = min(step, length-int64(len(raw)))
		}
		if step == 0 {
			return raw, nil
		}
		if err := x.room(step); err != nil {
			return nil, err
		}
		*taken += step
		start := len(raw)
		raw = slices.Grow(raw, int(step))[:start+int(step)]
		n, err := fill(body, raw[start:])
		raw = raw[:start+n]
		switch {
		case int64(len(raw)) > limit:
			return nil, errLarge
		case errors.Is(err, io.EOF) && length < 0:
			return raw, nil
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
	}
}

// fill reads until the buffer is full. Unlike io.ReadFull it tells the body's
// end, io.EOF, from one that came too early, whatever was read before.
func fill(body io.Reader, buffer []byte) (int, error) {
	n := 0
	for n < len(buffer) {
		got, err := body.Read(buffer[n:])
		if n += got; err != nil {
			if n == len(buffer) && errors.Is(err, io.EOF) {
				return n, nil // the next step meets it again
			}
			return n, err
		}
	}
	return n, nil
}

// room waits a little for a part of the budgets.
func (x *exchange) room(step int64) error {
	ctx, cancel := context.WithTimeout(x.r.Context(), budgetWait)
	defer cancel()
	if err := acquire(ctx, x.gate.share, step); err != nil {
		return err
	}
	if err := acquire(ctx, x.budget, step); err != nil {
		x.gate.share.Release(step)
		return err
	}
	return nil
}

func acquire(ctx context.Context, s *semaphore.Weighted, n int64) error {
	if s.TryAcquire(n) {
		return nil
	}
	if s.Acquire(ctx, n) != nil {
		return errNoRoom
	}
	return nil
}
