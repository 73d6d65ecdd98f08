package localstack

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	lowestPort   = 20000
	highestPort  = 31999
	portAttempts = 200
)

// port is a TCP port of 127.0.0.1, reserved against other processes that use
// this package, also while nothing listens on it.
type port struct {
	number int
	lock   *os.File // nil for a port named by the caller
}

func (p *port) release() {
	if p != nil && p.lock != nil {
		p.lock.Close()
	}
}

func (p *port) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)) }

// choosePort reserves the wanted port; 0 means the one remembered in the file, or
// any free one, which is then remembered there.
func choosePort(wanted int, remembered string) (*port, error) {
	switch {
	case wanted < 0 || wanted > 65535:
		return nil, fmt.Errorf("port %d: want 0 (any free one) to 65535", wanted)
	case wanted > 0:
		if err := bindable(wanted); err != nil {
			return nil, fmt.Errorf("port %d is taken, choose another or 0: %w", wanted, err)
		}
		return &port{number: wanted}, nil
	}
	text, err := os.ReadFile(remembered)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the port used before: %w", err)
	}
	if number, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		if p, ok := reserve(number); ok {
			return p, nil
		}
	}
	p, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(remembered, []byte(strconv.Itoa(p.number)), 0o644); err != nil {
		p.release()
		return nil, fmt.Errorf("remember port %d: %w", p.number, err)
	}
	return p, nil
}

// ReservePort gives an address of 127.0.0.1 on which nothing listens and that no
// other caller, of this process or another, is given before release is called or
// the caller's process ends. For a server that must be told its address before it
// starts, and find it free again after a restart. Keep release: the reservation
// goes with it.
func ReservePort() (address string, release func(), err error) {
	p, err := freePort()
	if err != nil {
		return "", nil, err
	}
	return p.addr(), p.release, nil
}

const (
	inUseLimit = 5 * time.Second
	inUseLook  = 5 * time.Millisecond
)

// ListenAgain listens, by calling listen, on an address on which this process has
// listened before: while another goroutine starts a child process, that child holds
// the closed listener too, from its fork to its exec. "Address already in use" is
// therefore tried again, for 5 s; any other error is returned at once.
func ListenAgain(listen func() error) error {
	deadline := time.NewTimer(inUseLimit)
	defer deadline.Stop()
	look := time.NewTicker(inUseLook)
	defer look.Stop()
	for {
		err := listen()
		if !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		select {
		case <-look.C:
		case <-deadline.C:
			return err
		}
	}
}

func freePort() (*port, error) {
	for range portAttempts {
		if p, ok := reserve(lowestPort + rand.IntN(highestPort-lowestPort+1)); ok {
			return p, nil
		}
	}
	return nil, fmt.Errorf("no free port in %d-%d after %d tries", lowestPort, highestPort, portAttempts)
}

// reserve locks the port's file, then tries the port itself, for those who know
// nothing of the files.
func reserve(number int) (*port, bool) {
	if number < 1 || number > 65535 {
		return nil, false
	}
	dir := filepath.Join(os.TempDir(), "waybill.ports."+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, false
	}
	lock, err := tryLock(filepath.Join(dir, strconv.Itoa(number)))
	if err != nil {
		return nil, false
	}
	if bindable(number) != nil {
		lock.Close()
		return nil, false
	}
	return &port{number: number, lock: lock}, true
}

func bindable(number int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(number)))
	if err != nil {
		return err
	}
	return l.Close()
}
