package remote

import (
	"crypto/subtle"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"waybill.internal/pkg/fault"
)

// pins are the host keys that a server may show.
type pins struct {
	prints []string // SHA256:…
	kinds  []string // of the keys; empty if a fingerprint alone is given, which tells no kind
}

// parsePins reads lines as in authorized_keys or known_hosts, and fingerprints.
func parsePins(lines []string) (pins, error) {
	var p pins
	bare := false
	for i, text := range lines {
		text = strings.TrimSpace(text)
		if strings.HasPrefix(text, "SHA256:") {
			p.prints, bare = append(p.prints, text), true
			continue
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
		if err != nil {
			return p, fmt.Errorf("remote.host_keys[%d] is no public key; write one such as ssh-ed25519 AAAA…, or its fingerprint SHA256:…", i)
		}
		p.prints, p.kinds = append(p.prints, ssh.FingerprintSHA256(key)), append(p.kinds, key.Type())
	}
	if bare {
		p.kinds = nil
	}
	return p, nil
}

// algorithms are those that make a server show a key that is pinned, though it
// has others; nil leaves it to the library.
func (p pins) algorithms() []string {
	var out []string
	for _, kind := range p.kinds {
		if kind == ssh.KeyAlgoRSA { // the kind of the key; the signature is never SHA-1
			out = append(out, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		out = append(out, kind)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// callback refuses what is not pinned, and notes why.
func (p pins) callback(refused *error) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		seen := ssh.FingerprintSHA256(key)
		for _, print := range p.prints {
			if subtle.ConstantTimeCompare([]byte(strings.TrimRight(print, "=")), []byte(seen)) == 1 {
				return nil
			}
		}
		if len(p.prints) == 0 {
			*refused = fault.New(fault.Credentials, "host_key_unknown",
				"no host key is known, and the server shows the %s key %s; let its owner confirm this by another way, then write it into remote.host_keys", key.Type(), seen)
		} else {
			*refused = fault.New(fault.Credentials, "host_key_unknown",
				"the server shows the %s key %s, which is not in remote.host_keys: it has a new key, or it is another server; let its owner confirm the key before you add it", key.Type(), seen)
		}
		return *refused
	}
}
