package provider

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"waybill.internal/pkg/signature"
)

const (
	gitLabToken  = "X-Gitlab-Token"
	signingToken = "whsec_"
)

// gitLabVerifier knows both ways of GitLab: the signing token, which is Standard
// Webhooks, and the older secret token, which is only shown. A request that carries
// a signature is judged by it alone when there is a signing token to judge it by.
type gitLabVerifier struct {
	signed   *signature.Verifier // nil: no signing token
	signedAt []int               // their indexes in Config.Secrets
	digests  [][sha256.Size]byte
	shownAt  []int
}

func newGitLabVerifier(c Config) (Verifier, error) {
	v := &gitLabVerifier{}
	var keys []signature.Key
	for i, s := range c.Secrets {
		if strings.HasPrefix(s, signingToken) {
			k, err := signature.ParseKey(s)
			if err != nil {
				return nil, fmt.Errorf("secret %d: %w", i+1, err)
			}
			keys, v.signedAt = append(keys, k), append(v.signedAt, i)
			continue
		}
		d, err := KeyDigest(s)
		if err != nil {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		v.digests, v.shownAt = append(v.digests, d), append(v.shownAt, i)
	}
	if len(keys) == 0 {
		return v, nil
	}
	var err error
	v.signed, err = signature.NewVerifier(keys, c.Tolerance)
	return v, err
}

func (v *gitLabVerifier) Verify(r Request, now time.Time) (Verified, error) {
	if v.signed != nil && (len(v.digests) == 0 || r.Header.Values(signature.HeaderSignature) != nil) {
		got, err := v.signed.Verify(r.Body, r.Header, now)
		if err != nil {
			return Verified{}, err
		}
		return Verified{KeyIndex: v.signedAt[got.KeyIndex], EventID: got.ID}, nil
	}
	token, err := single(r.Header, gitLabToken, MissingKey)
	if err != nil {
		return Verified{}, err
	}
	found := -1
	if len(token) <= maxKeyBytes {
		found = match(token, v.digests)
	}
	if found < 0 {
		return Verified{}, &Error{Code: BadKey, Header: gitLabToken, Detail: "the token is not one we know"}
	}
	return Verified{KeyIndex: v.shownAt[found], EventID: EventID(Config{Scheme: GitLab}, r)}, nil
}

// SignedAt gives the time a request claims to have been signed at; false when its
// scheme signs none, or none can be read.
func SignedAt(c Config, r Request) (time.Time, bool) {
	if c.Scheme == StandardWebhooks || c.Scheme == Svix || c.Scheme == GitLab {
		stamp := first(r.Header, signature.HeaderTimestamp, "svix-timestamp")
		at, err := parseTime(stamp, signature.HeaderTimestamp)
		return at, err == nil
	}
	rules, err := rulesOf(c)
	if err != nil {
		return time.Time{}, false
	}
	got, err := rules.read(r)
	if err != nil || !got.timed {
		return time.Time{}, false
	}
	return got.at, true
}
