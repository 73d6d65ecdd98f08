package transport

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/fault"
	"waybill.internal/services/ingest"
)

// refusal is the error of a look that a server or we refuse.
func refusal(t *testing.T, p *place, yaml string, class fault.Class, code string, says ...string) {
	t.Helper()
	_, _, err := openAs(t, p, yaml, ingest.RemoteOptions{}).List(t.Context(), "*", 10)
	if err == nil || fault.Of(err).Class != class || codeOf(err) != code {
		t.Errorf("the error is %v, want %s (%s)", err, code, class)
		return
	}
	for _, text := range append(says, "source orders/file: ") {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the error does not say %q: %v", text, err)
		}
	}
	if strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "\n") {
		t.Errorf("the error holds the password or a line break: %v", err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for kind, start := range all() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			p.put(t, "orders.csv", content(10))
			refusal(t, p, p.yaml, fault.Credentials, "blocked_address", "allow_private: true")
			missing := strings.Replace(strings.Replace(p.yaml, "/out%20box/", "/nowhere/", 1), "s3://"+bucket, "s3://nowhere", 1) + ", allow_private: true"
			switch kind {
			case "http":
				refusal(t, p, missing, fault.System, "file_missing", "404")
			case "s3":
				refusal(t, p, missing, fault.Credentials, "bucket_missing", "nowhere")
			default:
				refusal(t, p, missing, fault.Credentials, "folder_missing", "/nowhere")
			}
			if kind == "s3" {
				return // gofakes3 takes any key
			}
			p.vars["PASSWORD"] = "wrong"
			refusal(t, p, p.yaml+", allow_private: true", fault.Credentials, "login_refused", "orders/file")
		})
	}
}

// TestAway: no server, no name, silence from the first byte on.
func TestAway(t *testing.T) {
	t.Parallel()
	for kind, start := range all() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			p := start(t)
			yaml := p.yaml + ", allow_private: true"
			p.toxic(t, "timeout", `"timeout": 0`)
			_, _, err := openAs(t, p, yaml, ingest.RemoteOptions{Idle: 300 * time.Millisecond}).List(t.Context(), "*", 10)
			if codeOf(err) != "stalled" {
				t.Errorf("a silent server: %v", err)
			}
			_, _, err = openAs(t, p, yaml, ingest.RemoteOptions{Brief: 300 * time.Millisecond}).List(t.Context(), "*", 10)
			if codeOf(err) != "timeout" {
				t.Errorf("a look without end: %v", err)
			}
			for _, proxy := range p.proxies {
				proxy.Stop()
			}
			refusal(t, p, yaml, fault.System, "connect", "127.0.0.1")
			refusal(t, p, strings.ReplaceAll(yaml, "127.0.0.1", "files.invalid"), fault.System, "dns", "files.invalid")
		})
	}
}

func TestSFTPKeys(t *testing.T) {
	t.Parallel()
	p, print := sftpPlace(t)
	p.put(t, "orders.csv", content(10))
	yaml := p.yaml + ", allow_private: true"
	head, rest, _ := strings.Cut(yaml, "host_keys: [")
	_, tail, _ := strings.Cut(rest, "]")
	refusal(t, p, strings.TrimSuffix(strings.TrimSpace(head), ",")+tail, fault.Credentials, "host_key_unknown", print, "no host key is known", "remote.host_keys")
	other := `host_keys: ["SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]`
	refusal(t, p, head+other+tail, fault.Credentials, "host_key_unknown", print, "not in remote.host_keys")
	for _, good := range []string{head + `host_keys: ["` + print + `"]` + tail, strings.Replace(yaml, "{password:", `{key: "${KEY}", password:`, 1)} {
		only(t, openAs(t, p, good, ingest.RemoteOptions{}))
	}
	p.vars["KEY"] = "no key"
	_, err := ingest.OpenRemote(t.Context(), p.source(t, strings.Replace(yaml, "{password:", `{key: "${KEY}", password:`, 1)), ingest.RemoteOptions{})
	if codeOf(err) != "key_unreadable" || strings.Contains(err.Error(), "no key") {
		t.Errorf("a key that is none: %v", err)
	}
}

func TestFTPTrust(t *testing.T) {
	t.Parallel()
	p := ftpPlace(t, "explicit", false)
	yaml := p.yaml + ", allow_private: true"
	head, rest, _ := strings.Cut(yaml, ", ca: ")
	_, tail, _ := strings.Cut(rest, ", ")
	refusal(t, p, head+", "+tail, fault.Credentials, "tls", "remote.ca")
	plain := ftpPlace(t, "", false)
	_, options, _ := strings.Cut(yaml, "remote: ")
	from, _, _ := strings.Cut(plain.yaml, "remote: ")
	refusal(t, plain, strings.Replace(from, "ftp://", "ftps://", 1)+"remote: "+options, fault.Credentials, "tls", "offers no TLS")
}

// TestUnchanged: a web address is asked for with what is known of it.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	p := webPlace(t, nil)
	p.put(t, "orders.csv", content(5000))
	store := open(t, p, ingest.RemoteOptions{})
	f := spool(t)
	last, err := store.Fetch(t.Context(), only(t, store), f, 0)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, f, content(5000))
	if entries, _ := list(t, open(t, p, ingest.RemoteOptions{Last: last}), 10); len(entries) > 0 {
		t.Errorf("the unchanged file is listed again: %v", entries)
	}
	p.put(t, "orders.csv", content(6000))
	if e := only(t, open(t, p, ingest.RemoteOptions{Last: last})); e.Size != 6000 || e.Name != "orders.csv" {
		t.Errorf("the changed file is %v", e)
	}
	if err := store.Move(t.Context(), last, "done"); !errors.Is(err, errors.ErrUnsupported) || codeOf(err) != "unsupported" {
		t.Errorf("moved on a web server: %v", err)
	}
}

// TestWebAnswers: what web servers say instead of a file.
func TestWebAnswers(t *testing.T) {
	t.Parallel()
	elsewhere := serve(t, http.NotFoundHandler())
	p := webPlace(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch name := strings.TrimPrefix(r.URL.Path, "/out box/"); name {
		case "away.csv":
			http.Redirect(w, r, "http://"+elsewhere+"/orders.csv?secret=1", http.StatusFound)
		case "round.csv":
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		case "near.csv":
			http.Redirect(w, r, "orders.csv", http.StatusFound)
		case "busy.csv":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		case "odd.csv":
			w.Header().Set("Content-Encoding", "br")
			_, _ = w.Write(content(10))
		case "endless.csv": // ends with the connection, as a cut one does
			hijacked(w, "HTTP/1.0 200 OK\r\n\r\n"+strings.Repeat("x", 1000))
		case "short.csv":
			hijacked(w, "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 2000\r\n\r\n"+strings.Repeat("x", 1000))
		case "chunks.csv":
			hijacked(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n"+strings.Repeat("x", 1000)+"\r\n")
		case "huge.csv":
			hijacked(w, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
		default:
			return false
		}
		return true
	})
	p.put(t, "orders.csv", content(10))
	at := func(name string) string {
		return strings.Replace(p.yaml, "orders.csv", name, 1) + ", allow_private: true"
	}
	refusal(t, p, at("away.csv"), fault.Credentials, "redirect", elsewhere)
	refusal(t, p, at("round.csv"), fault.Credentials, "redirect")
	refusal(t, p, at("busy.csv"), fault.System, "http_503")
	refusal(t, p, at("odd.csv"), fault.System, "encoding", "br")
	refusal(t, p, at("endless.csv"), fault.System, "no_length", "Content-Length")
	refusal(t, p, at("huge.csv"), fault.System, "bad_response")
	near := only(t, openAs(t, p, at("near.csv"), ingest.RemoteOptions{}))
	if near.Name != "near.csv" || near.Size != 10 {
		t.Errorf("behind a redirect on the same server lies %v", near)
	}
	for _, name := range []string{"short.csv", "chunks.csv"} {
		store, f := openAs(t, p, at(name), ingest.RemoteOptions{}), spool(t)
		if _, err := store.Fetch(t.Context(), only(t, store), f, 0); codeOf(err) != "cut" || length(t, f) != 1000 {
			t.Errorf("%s: %d bytes and %v", name, length(t, f), err)
		}
	}
}

// TestBucketAnswers: what S3 servers say instead of a listing.
func TestBucketAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status     int
		code, want string
		class      fault.Class
	}{
		{403, "InvalidAccessKeyId", "login_refused", fault.Credentials},
		{403, "SignatureDoesNotMatch", "login_refused", fault.Credentials},
		{403, "AccessDenied", "permission", fault.Credentials},
		{503, "SlowDown", "http_503", fault.System},
	} {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(c.status)
				_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", c.code)
			}))
			p := &place{vars: map[string]string{"PASSWORD": password}}
			refusal(t, p, `from: "s3://drop/in/*.csv", allow_private: true, remote: {username: AKIA, password: "${PASSWORD}", endpoint: "http://`+address+`"}`, c.class, c.want)
		})
	}
}

// TestLeaks: nothing of ours runs on after Close, also when the server was lost. The
// servers and proxies of this process end in their own time, so goroutines are
// known by whose they are.
func TestLeaks(t *testing.T) { //nolint:paralleltest // it looks at all goroutines
	for kind, start := range all() {
		p := start(t)
		p.put(t, "orders.csv", content(size))
		store := open(t, p, ingest.RemoteOptions{})
		e := only(t, store)
		p.toxic(t, "limit_data", `"bytes": 1000`)
		if _, err := store.Fetch(t.Context(), e, spool(t), 0); err == nil && kind != "http" {
			t.Errorf("%s: it was fetched over a broken line", kind)
		}
		p.heal(t)
		only(t, store)
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		tick := time.NewTicker(10 * time.Millisecond)
		deadline := time.After(10 * time.Second)
		for left := ours(); left != ""; left = ours() {
			select {
			case <-tick.C:
				continue
			case <-deadline:
				t.Errorf("%s: this still runs after Close:\n%s", kind, left)
			}
			break
		}
		tick.Stop()
	}
}

// ours gives the goroutines that a store or the client side of a library runs.
func ours() string {
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	var found []string
	for _, one := range strings.Split(string(stacks), "\n\n") {
		for _, mark := range []string{"ingest/internal/remote.", "sftp.(*clientConn)", "ssh.(*Client)", "ssh.NewClientConn", "http.(*persistConn)", "minio-go"} {
			if strings.Contains(one, mark) {
				found = append(found, one)
				break
			}
		}
	}
	return strings.Join(found, "\n\n")
}

func hijacked(w http.ResponseWriter, answer string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(answer))
}
