package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
)

func TestNames(t *testing.T) {
	t.Parallel()
	core, logged := observer.New(zap.WarnLevel)
	o := Options{Source: "orders/file", Log: zap.New(core)}
	o.defaults()
	s, err := newSite(&integration.File{From: "ftp://files.example/out"}, o)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"orders.csv": true, "a b.csv": true, "größe.csv": true, "-rf.csv": true, "caf\xe9.csv": true, strings.Repeat("x", 251) + ".csv": true,
		"": false, ".csv": false, "..": false, ".hidden.csv": false, "a.csv.tmp": false, "a.csv.part": false, "a.xml": false,
		"..\\a.csv": false, "a\\b.csv": false, "a\r\nDELE b.csv": false, "a\x00.csv": false, "a\x7f.csv": false, strings.Repeat("x", 252) + ".csv": false, "sub/a.csv": false,
	} {
		if got := s.ours(name, "*.csv"); got != want {
			t.Errorf("%q: taken: %t, want %t", name, got, want)
		}
	}
	if got := logged.Len(); got != 5 {
		t.Errorf("%d names were logged, want those 5 that match and are not taken: %v", got, logged.All())
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"sftp://h": "/", "sftp://h/": "/", "sftp://h/out/": "/out", "sftp://h/out%20box//in": "/out box/in", "sftp://h/a/../../b": "/b",
		"sftp://h/~": "", "sftp://h/~/": "", "sftp://h/~/out/": "out", "sftp://h/~out": "/~out",
	} {
		s, err := newSite(&integration.File{From: from}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.folder(); got != want {
			t.Errorf("%s: %q, want %q", from, got, want)
		}
	}
}

func TestContentRange(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][3]any{
		"bytes 5-9/10": {int64(5), int64(10), true}, "bytes 5-9/*": {int64(5), int64(-1), true}, "bytes */10": {int64(0), int64(-1), false},
		"": {int64(0), int64(-1), false}, "items 5-9/10": {int64(0), int64(-1), false}, "bytes -5-9/10": {int64(0), int64(-1), false},
		"bytes 99999999999999999999-/1": {int64(0), int64(-1), false}, "bytes 5-9/-10": {int64(5), int64(-1), true}, "bytes 5": {int64(5), int64(-1), true},
	} {
		from, total, ok := contentRange(http.Header{"Content-Range": {value}})
		if got := [3]any{from, total, ok}; got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestNumbered(t *testing.T) {
	t.Parallel()
	names := numbered("orders.csv", time.Date(2026, 3, 4, 5, 6, 7, 8_000_000, time.FixedZone("", 3600)))
	if names[0] != "orders.csv" || names[1] != "orders-20260304T040607.008Z.csv" || names[2] != "orders-20260304T040607.009Z.csv" {
		t.Error(names)
	}
}

// badFTP is a server that misbehaves in one answer: by the first word of a
// command, what it says. Data connections get what data writes, until that fails.
type badFTP struct {
	listener net.Listener
	replies  map[string]string
	data     func(w io.Writer)
	asked    chan string // commands, in order
}

func startBadFTP(t *testing.T, replies map[string]string, data func(io.Writer)) *badFTP {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	b := &badFTP{listener: listener, replies: replies, data: data, asked: make(chan string, 1000)}
	go func() { // ends with the listener
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go b.talk(conn)
		}
	}()
	return b
}

func (b *badFTP) talk(conn net.Conn) {
	defer conn.Close()
	data, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return
	}
	defer data.Close()
	port := data.Addr().(*net.TCPAddr).Port
	_, _ = io.WriteString(conn, "220 hello\r\n")
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		b.asked <- lines.Text()
		word, _, _ := strings.Cut(lines.Text(), " ")
		answer, ok := b.replies[word]
		if !ok {
			answer = map[string]string{"USER": "331 and?", "PASS": "230 in", "CWD": "250 there", "TYPE": "200 fine", "SIZE": "213 10", "LIST": "150 now", "RETR": "150 now",
				"PASV": fmt.Sprintf("227 (10,9,8,7,%d,%d)", port/256, port%256)}[word] // of another host
		}
		if answer == "" {
			answer = "502 what?"
		}
		for range max(1, len(answer)/(1<<20)) { // long ones in parts
			if _, err := io.WriteString(conn, answer+"\r\n"); err != nil {
				return
			}
		}
		if strings.HasPrefix(answer, "150") {
			if line, err := data.Accept(); err == nil {
				b.data(line)
				_ = line.Close()
				_, _ = io.WriteString(conn, "226 done\r\n")
			}
		}
	}
}

func (b *badFTP) store(t *testing.T) Store {
	t.Helper()
	s, err := Open(t.Context(), &integration.File{From: "ftp://" + b.listener.Addr().String() + "/out", AllowPrivate: true}, Options{Source: "orders/file"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestBadFTP: what a hostile or broken server sends is bounded and named.
func TestBadFTP(t *testing.T) {
	t.Parallel()
	const line = "-rw-r--r-- 1 a a 10 Jan 02 15:04 orders.csv\r\n"
	endless := func(w io.Writer) {
		for {
			if _, err := io.WriteString(w, strings.Repeat(line, 1000)); err != nil {
				return
			}
		}
	}
	write := func(text string) func(io.Writer) {
		return func(w io.Writer) { _, _ = io.WriteString(w, text) }
	}
	cases := []struct {
		name    string
		replies map[string]string
		data    func(io.Writer)
		code    string
	}{
		{"good", nil, write(line), ""},
		{"endless listing", nil, endless, "listing_too_large"},
		{"endless line", nil, func(w io.Writer) { _, _ = io.WriteString(w, strings.Repeat("x", 32<<20)) }, "bad_response"},
		{"endless answer", map[string]string{"USER": "331-" + strings.Repeat("x\r\n331-", 1<<17)}, nil, "bad_response"},
		{"cut in a name", nil, write(line + line[:len(line)-5]), "cut"},
		{"no answer", map[string]string{"USER": "hello"}, nil, "bad_response"},
		{"login without code", map[string]string{"USER": "530 no"}, nil, "login_refused"},
		{"full", map[string]string{"PASS": "421 too many"}, nil, "busy"},
		{"bad port", map[string]string{"PASV": "227 (1,2,3,4,999999999999,1)"}, nil, "connect"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := startBadFTP(t, c.replies, c.data)
			entries, _, err := b.store(t).List(t.Context(), "*", 10)
			if c.code == "" && (err != nil || len(entries) != 1) || c.code != "" && (err == nil || fault.Of(err).Code != c.code) {
				t.Errorf("%v and %v, want %s", entries, err, c.code)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// TestFTPShort: a server that ends a transfer early, and says that all is well.
func TestFTPShort(t *testing.T) {
	t.Parallel()
	b := startBadFTP(t, nil, func(w io.Writer) { _, _ = io.WriteString(w, "12345") })
	to, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	_, err = b.store(t).Fetch(t.Context(), Entry{Name: "orders.csv", Size: 10}, to, 0)
	if fault.Of(err).Code != "cut" {
		t.Errorf("half a file was taken: %v", err)
	}
	if _, err := b.store(t).Fetch(t.Context(), Entry{Name: "orders.csv\r\nDELE x", Size: 10}, to, 0); fault.Of(err).Code != "bad_name" {
		t.Errorf("a name with a command in it: %v", err)
	}
}

// TestCause: an error keeps its chain, and its text is one bounded line.
func TestCause(t *testing.T) {
	t.Parallel()
	s, err := newSite(&integration.File{From: "ftp://files.example/out"}, Options{Source: "orders/file"})
	if err != nil {
		t.Fatal(err)
	}
	told := s.failed("fetch", "a\nb.csv", fmt.Errorf("%s: %w", strings.Repeat("long\n", 1000), ErrChanged))
	if !errors.Is(told, ErrChanged) || strings.ContainsAny(told.Error(), "\r\n") || len(told.Error()) > 1000 {
		t.Errorf("%d bytes: %v", len(told.Error()), told)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, &integration.File{From: "ftp://files.example/out"}, Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
