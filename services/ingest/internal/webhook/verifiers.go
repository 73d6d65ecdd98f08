package webhook

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
)

// verifiers keeps one verifier per source, made anew when a secret's value or the
// integration has changed: secrets are resolved at use, so a rotated one needs no
// restart.
type verifiers struct {
	uses provider.Uses

	mu    sync.Mutex
	known map[route]keptVerifier // at most one for each source
}

type keptVerifier struct {
	version  string // of the integration
	secrets  []string
	verifier provider.Verifier
}

func newVerifiers() *verifiers { return &verifiers{known: map[route]keptVerifier{}} }

// of gives the source's verifier, which also notes when each secret was last used.
// Its KeyIndex counts the secrets as the integration lists them. An error is our own
// fault, of class credentials.
func (v *verifiers) of(e catalog.Entry, s *integration.Source) (provider.Verifier, error) {
	found, err := secretsOf(e, s)
	if err != nil {
		return nil, err
	}
	source, version := route{e.Name, s.Name}, e.Hash()
	v.mu.Lock()
	defer v.mu.Unlock()
	kept, ok := v.known[source]
	if !ok || kept.version != version || !slices.Equal(kept.secrets, found.values) {
		config := s.Webhook.Verify.Verification()
		config.Secrets = found.values
		verifier, err := provider.New(config)
		if err != nil {
			return nil, fault.Wrap(err, fault.Credentials, "verifier_unusable", "source %s of integration %s cannot verify anything", s.Name, e.Name)
		}
		kept = keptVerifier{version, found.values, verifier}
		v.known[source] = kept
	}
	return notedVerifier{kept.verifier, &v.uses, source, found.places}, nil
}

// handshake is provider.Handshake with the source's secrets. Whatever Answer.Signed
// says holds: such an answer waits for Verify.
func (v *verifiers) handshake(e catalog.Entry, s *integration.Source, r provider.Request) (provider.Answer, bool) {
	scheme := provider.Scheme(s.Webhook.Verify.Scheme)
	if scheme != provider.Meta && scheme != provider.Zoom {
		return provider.Handshake(scheme, r, nil) // no secret read for nothing on every request
	}
	found, err := secretsOf(e, s)
	if err != nil {
		return provider.Answer{}, false // verifying says so
	}
	return provider.Handshake(scheme, r, found.values)
}

// SecretUses lists when the secrets of the sources last verified a request to this
// process: the source is "integration/source", the index that of the secret there.
func (h *Handler) SecretUses() []provider.Use { return h.verifiers.uses.Snapshot() }

// notedVerifier tells the secrets' uses.
type notedVerifier struct {
	provider.Verifier
	uses   *provider.Uses
	source route
	places []int // of each revealed secret in the integration's list
}

func (n notedVerifier) Verify(r provider.Request, now time.Time) (provider.Verified, error) {
	got, err := n.Verifier.Verify(r, now)
	if err != nil || got.KeyIndex < 0 {
		return got, err
	}
	got.KeyIndex = n.places[got.KeyIndex]
	n.uses.Note(n.source.integration+"/"+n.source.source, got.KeyIndex, now)
	return got, nil
}

// revealed are the secrets that are set, each once, and where they are listed.
type revealed struct {
	values []string
	places []int
}

// secretsOf reads the secrets that are set: during a rotation the old one may be
// gone already. None at all is an error, unless the scheme has none.
func secretsOf(e catalog.Entry, s *integration.Source) (revealed, error) {
	var found revealed
	var first error
	for i, secret := range s.Webhook.Verify.Secrets {
		value, err := secret.Reveal()
		switch {
		case err != nil && first == nil:
			first = err
		case err == nil && !slices.Contains(found.values, value):
			found.values, found.places = append(found.values, value), append(found.places, i)
		}
	}
	if len(found.values) == 0 && s.Webhook.Verify.Scheme != string(provider.None) {
		return revealed{}, fault.Wrap(fmt.Errorf("no secret is set: %w", first), fault.Credentials, "secret_unreadable",
			"the secrets of source %s of integration %s cannot be read", s.Name, e.Name)
	}
	return found, nil
}
