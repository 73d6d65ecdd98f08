package transport

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"waybill.internal/pkg/integration"
)

const (
	password = "correct horse"
	bucket   = "drop"
)

//go:embed testdata/ftpd.py
var ftpd string //nolint:gochecknoglobals // embedded

// place is a server with a folder of files, as the partner sees it.
type place struct {
	front
	yaml string            // of the file source, but for every and format
	vars map[string]string // what the secrets are
	put  func(t *testing.T, name string, content []byte)
	get  func(t *testing.T, name string) []byte // nil if there is no such file
}

// folderPlace keeps its files in a directory of this machine.
func folderPlace(t *testing.T) (*place, string) {
	root := t.TempDir()
	out := filepath.Join(root, "out box")
	if err := os.Mkdir(out, 0o750); err != nil {
		t.Fatal(err)
	}
	p := &place{vars: map[string]string{"PASSWORD": password}}
	p.put = func(t *testing.T, name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(out, name), content, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	p.get = func(t *testing.T, name string) []byte {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(out, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return content
	}
	return p, root
}

// python finds, once, an interpreter that has pyftpdlib; the first one of the path may be another.
var python = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // asked once
	for _, name := range []string{"python3", "/usr/bin/python3", "/usr/local/bin/python3", "/opt/homebrew/bin/python3"} {
		if exec.Command(name, "-W", "ignore", "-c", "import pyftpdlib, OpenSSL").Run() == nil {
			return name, nil
		}
	}
	return "", errors.New("no python3 with pyftpdlib and PyOpenSSL: run scripts/setup")
})

// ftpPlace is pyftpdlib: tlsMode is "", explicit or implicit.
func ftpPlace(t *testing.T, tlsMode string, old bool) *place {
	p, root := folderPlace(t)
	scheme, remote := "ftp", ""
	settings := map[string]any{"tls": tlsMode, "old": old, "password": password, "root": root}
	if tlsMode != "" {
		both, authority := certificate(t)
		settings["certificate"] = both
		scheme, remote = "ftps", ", ca: "+strconv.Quote(authority)+", implicit: "+strconv.FormatBool(tlsMode == "implicit")
	}
	ports := map[string]int{}
	for range 6 {
		address := reserved(t)
		ports[strconv.Itoa(portOf(t, address))] = portOf(t, p.open(t, address))
	}
	settings["data_ports"] = ports
	address := p.open(t, "127.0.0.1:"+startFTP(t, settings))
	p.yaml = `from: "` + scheme + `://brand@` + address + `/out%20box/*.csv", remote: {password: "${PASSWORD}"` + remote + `}`
	return p
}

func startFTP(t *testing.T, settings map[string]any) (port string) {
	t.Helper()
	said, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	interpreter, err := python()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(interpreter, "-c", ftpd, string(said))
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the server ends with its standard input
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = in.Close()
		_ = cmd.Wait()
		t.Fatalf("the FTP server did not start: %v\n%s", err, complaints.String())
	}
	return strings.TrimSpace(line)
}

// certificate writes a key with its certificate, and the certificate alone.
func certificate(t *testing.T) (both, alone string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "files"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	both, alone = filepath.Join(dir, "both.pem"), filepath.Join(dir, "ca.pem")
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	for name, content := range map[string][]byte{both: append(private, public...), alone: public} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return both, alone
}

// sftpPlace is a server of pkg/sftp over x/crypto/ssh, which takes the password or a key.
func sftpPlace(t *testing.T) (p *place, fingerprint string) {
	p, root := folderPlace(t)
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		t.Fatal(err)
	}
	_, userKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	user, err := ssh.NewSignerFromKey(userKey)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(userKey, "", []byte(password))
	if err != nil {
		t.Fatal(err)
	}
	p.vars["KEY"] = string(pem.EncodeToMemory(block))
	config := &ssh.ServerConfig{
		PasswordCallback: func(c ssh.ConnMetadata, given []byte) (*ssh.Permissions, error) {
			if c.User() == "brand" && string(given) == password {
				return nil, nil
			}
			return nil, os.ErrPermission
		},
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if bytes.Equal(key.Marshal(), user.PublicKey().Marshal()) {
				return nil, nil
			}
			return nil, os.ErrPermission
		},
	}
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveSFTP(conn, config)
		}
	}()
	address := p.open(t, listener.Addr().String())
	fingerprint = ssh.FingerprintSHA256(signer.PublicKey())
	p.yaml = `from: "sftp://brand@` + address + strings.ReplaceAll(root, " ", "%20") + `/out%20box/*.csv", remote: {password: "${PASSWORD}", host_keys: ["` + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + `"]}`
	return p, fingerprint
}

// serveSFTP ends with the connection.
func serveSFTP(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for channel := range channels {
		if channel.ChannelType() != "session" {
			_ = channel.Reject(ssh.UnknownChannelType, "")
			continue
		}
		stream, wanted, err := channel.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range wanted {
				_ = r.Reply(r.Type == "subsystem", nil)
			}
		}()
		if server, err := sftp.NewServer(stream); err == nil {
			_ = server.Serve()
		}
	}
}

// bucketPlace is gofakes3.
func bucketPlace(t *testing.T) *place {
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	p := &place{vars: map[string]string{"PASSWORD": password}}
	p.put = func(t *testing.T, name string, content []byte) {
		t.Helper()
		if _, err := backend.PutObject(bucket, "in/"+name, map[string]string{"Last-Modified": time.Now().UTC().Format(http.TimeFormat)}, bytes.NewReader(content), int64(len(content)), nil); err != nil {
			t.Fatal(err)
		}
	}
	p.get = func(t *testing.T, name string) []byte {
		t.Helper()
		object, err := backend.GetObject(bucket, "in/"+name, nil)
		if err != nil {
			return nil
		}
		defer object.Contents.Close()
		var b bytes.Buffer
		if _, err := b.ReadFrom(object.Contents); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	address := p.open(t, serve(t, gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()))
	p.yaml = `from: "s3://` + bucket + `/in/*.csv", remote: {username: AKIA, password: "${PASSWORD}", endpoint: "http://` + address + `"}`
	return p
}

// webPlace serves one file, orders.csv, with ETag and Last-Modified.
func webPlace(t *testing.T, more func(w http.ResponseWriter, r *http.Request) bool) *place {
	p, root := folderPlace(t)
	files := http.FileServer(http.Dir(root))
	address := p.open(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if more != nil && more(w, r) {
			return
		}
		if given := r.Header.Get("Authorization"); given != "Bearer "+password {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		if info, err := os.Stat(filepath.Join(root, filepath.FromSlash(r.URL.Path))); err == nil {
			w.Header().Set("ETag", strconv.Quote(strconv.FormatInt(info.ModTime().UnixNano(), 36)+"-"+strconv.FormatInt(info.Size(), 36)))
		}
		files.ServeHTTP(w, r)
	})))
	p.yaml = `from: "http://` + address + `/out%20box/orders.csv", remote: {auth: {bearer: "${PASSWORD}"}}`
	return p
}

// source is the file source of an integration that a person would write.
func (p *place) source(t *testing.T, yaml string) *integration.File {
	t.Helper()
	file := filepath.Join(t.TempDir(), "orders.yaml")
	text := "integration: orders\nrecord: {idempotency_key: body.id}\nsources:\n  - file: {every: \"* * * * *\", format: {csv: {}}, " + yaml + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := integration.Load(file, func(name string) (string, bool) { value, ok := p.vars[name]; return value, ok })
	if err != nil {
		t.Fatal(err)
	}
	return in.Sources[0].File
}
