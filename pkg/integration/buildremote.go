package integration

import (
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Scheme is http, https, ftp, ftps, sftp or s3 if the files are fetched over the
// network, and empty for a directory.
func (f *File) Scheme() string {
	scheme, _, ok := strings.Cut(f.From, "://")
	if !ok {
		return ""
	}
	return strings.ToLower(scheme)
}

func remoteSchemes() []string { return []string{"http", "https", "ftp", "ftps", "sftp", "s3"} }

// place checks an address of files on another machine.
func (b *builder) place(f *File, at string) {
	scheme, rest, _ := strings.Cut(f.From, "://")
	scheme = strings.ToLower(scheme)
	if !slices.Contains(remoteSchemes(), scheme) {
		b.wrong(join(at, "from"), "files cannot be fetched from %s://; write a directory, or a URL with file, http, https, ftp, ftps, sftp or s3", shorten(scheme))
		return
	}
	web := scheme == "http" || scheme == "https"
	if dir, last := path.Split(rest); !web && dir != "" && strings.ContainsAny(last, "*?[") {
		if f.Match != "" && f.Match != last {
			b.wrong(join(at, "match"), "from already ends in the pattern %s; remove one", shorten(last))
		}
		rest, f.Match = dir, last
	}
	f.From = scheme + "://" + rest
	u, err := url.Parse(f.From)
	if err != nil || u.Hostname() == "" || !validPort(u.Port()) {
		b.wrong(join(at, "from"), "this is no address of a server; write one such as %s", example(scheme))
		return
	}
	b.addressParts(f, u, at)
	if web {
		b.webFile(f, at)
	} else if strings.ContainsAny(u.Path, "*?[\x00\r\n") {
		b.wrong(join(at, "from"), "there is a pattern in the folder; only the last part may be one")
	}
	f.Match = fallback(f.Match, "*")
	r := f.Remote
	if r == nil {
		r = &Remote{}
	}
	b.login(r, u, scheme, at)
	b.remoteKeys(r, scheme, at)
}

func validPort(port string) bool {
	n, err := strconv.Atoi(fallback(port, "1"))
	return err == nil && n >= 1 && n <= 65535
}

func example(scheme string) string {
	switch scheme {
	case "http", "https":
		return scheme + "://files.example/export.csv"
	case "s3":
		return "s3://bucket/folder/*.csv"
	}
	return scheme + "://files.example/outgoing/*.csv"
}

func (b *builder) addressParts(f *File, u *url.URL, at string) {
	if _, given := u.User.Password(); given {
		b.wrong(join(at, "from"), "the address holds a password; move it to remote.password as a reference such as ${PASSWORD}")
		f.From = u.Redacted() // what is shown of the file does not hold it
	}
	web := u.Scheme == "http" || u.Scheme == "https"
	switch {
	case web && u.User != nil, u.Scheme == "s3" && u.User != nil:
		b.wrong(join(at, "from"), "the address holds a user name; move it to %s", map[bool]string{true: "remote.auth", false: "remote.username"}[web])
	case u.Fragment != "" || strings.HasSuffix(f.From, "#"):
		b.wrong(join(at, "from"), "the address has a fragment; write %%23 if # is a part of a name, or remove it")
	case !web && (u.RawQuery != "" || u.ForceQuery):
		b.wrong(join(at, "from"), "the address has a query; write %%3F if ? is a part of a name, or remove it")
	case u.Scheme == "s3" && u.Port() != "":
		b.wrong(join(at, "from"), "an S3 address begins with the bucket; write s3://bucket/folder/ and the server into remote.endpoint")
	}
}

// webFile checks what a web server, which gives one file and takes nothing, cannot do.
func (b *builder) webFile(f *File, at string) {
	if f.Match != "" {
		b.wrong(join(at, "match"), "a web address is one file, so there is nothing to match; remove it")
	}
	if f.Complete.By == "marker" {
		b.wrong(join(at, "complete.by"), "a web server does not list marker files; write by: rename")
	}
	// The text of a default lies nowhere in the file.
	if n := b.out.places[join(at, "after")]; n != nil && n.inner >= 0 && f.After != "keep" {
		b.wrong(join(at, "after"), "a file cannot be moved or deleted on a web server; write after: keep")
	}
	f.After = "keep"
}

// login checks who we are and how we prove it.
func (b *builder) login(r *Remote, u *url.URL, scheme, at string) {
	at = join(at, "remote")
	b.resolve(join(at, "username"), &r.Username)
	user := fallback(r.Username, u.User.Username())
	if name := u.User.Username(); name != "" && name != user {
		b.wrong(join(at, "username"), "from already names the user %s; remove one", shorten(name))
	}
	if strings.ContainsAny(user, "\r\n\x00") {
		b.wrong(join(at, "username"), "a user name has no line breaks; remove them")
	}
	switch {
	case scheme == "sftp" && user == "":
		b.wrong(at, "the user name is missing; add username, or write sftp://NAME@%s", shorten(u.Host))
	case scheme == "sftp" && r.Password == nil && r.Key == nil:
		b.wrong(at, "nothing proves who we are; add password or key, a reference such as ${FILES_PASSWORD}")
	case scheme != "sftp" && user != "" && r.Password == nil:
		b.wrong(at, "the password is missing; add password, a reference such as ${FILES_PASSWORD}")
	case user == "" && r.Password != nil:
		b.wrong(join(at, "password"), "the user name is missing; add username")
	}
	b.auth(join(at, "auth"), r.Auth)
}

// remoteKeys refuses keys that a scheme has no use for, and checks those it has.
func (b *builder) remoteKeys(r *Remote, scheme, at string) {
	at = join(at, "remote")
	for _, k := range []struct {
		key, schemes string
		given        bool
	}{
		{"username", "ftp ftps sftp s3", r.Username != ""},
		{"password", "ftp ftps sftp s3", r.Password != nil},
		{"key", "sftp", r.Key != nil},
		{"host_keys", "sftp", len(r.HostKeys) > 0},
		{"ca", "https ftps s3", r.CA != ""},
		{"implicit", "ftps", r.Implicit},
		{"endpoint", "s3", r.Endpoint != ""},
		{"region", "s3", r.Region != ""},
		{"auth", "http https", r.Auth != nil},
	} {
		if k.given && !slices.Contains(strings.Fields(k.schemes), scheme) {
			b.wrong(join(at, k.key), "%s is for %s, and from begins with %s; remove it", k.key, strings.Join(strings.Fields(k.schemes), ", "), scheme)
		}
	}
	b.resolve(join(at, "ca"), &r.CA)
	b.address(join(at, "endpoint"), &r.Endpoint, true)
	if e, err := url.Parse(r.Endpoint); r.Endpoint != "" && err == nil && e.Path != "" {
		b.wrong(join(at, "endpoint"), "the server's address ends with its host; remove %s", shorten(e.Path))
	}
	for i, key := range r.HostKeys {
		if !validHostKey(key) {
			b.wrong(index(join(at, "host_keys"), i), "%q is no public key; write one as in authorized_keys such as \"ssh-ed25519 AAAA…\", or its fingerprint SHA256:…", shorten(key))
		}
	}
}

// validHostKey takes a fingerprint, or a line of authorized_keys whose key is of
// the kind that it says.
func validHostKey(text string) bool {
	if print, ok := strings.CutPrefix(strings.TrimSpace(text), "SHA256:"); ok {
		sum, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(print, "="))
		return err == nil && len(sum) == 32
	}
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil || len(key) < 4 {
		return false
	}
	n := binary.BigEndian.Uint32(key)
	return uint64(n) < uint64(len(key)-4) && string(key[4:4+n]) == fields[0]
}
