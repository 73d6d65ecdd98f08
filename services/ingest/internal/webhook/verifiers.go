package webhook

import (
	"fmt"
	"slices"
	"sync"

	"waybill.internal/pkg/catalog"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/services/ingest/internal/verify"
)

// verifiers keeps one verifier per source, made anew when a secret's value has
// changed: secrets are resolved at use, so a rotated one needs no restart.
type verifiers struct {
	mu    sync.Mutex
	known map[string]keptVerifier // by integration and source
}

type keptVerifier struct {
	secrets  []string
	verifier verify.Verifier
}

func newVerifiers() *verifiers { return &verifiers{known: map[string]keptVerifier{}} }

// of gives the source's verifier. An error is our own fault, of class credentials.
func (v *verifiers) of(e catalog.Entry, s *integration.Source) (verify.Verifier, error) {
	rules := s.Webhook.Verify
	secrets, err := reveal(rules.Secrets)
	if err != nil {
		return nil, fault.Wrap(err, fault.Credentials, "secret_unreadable", "the secrets of source %s of integration %s cannot be read", s.Name, e.Name)
	}
	name := e.Hash() + "/" + s.Name
	v.mu.Lock()
	defer v.mu.Unlock()
	if kept, ok := v.known[name]; ok && slices.Equal(kept.secrets, secrets) {
		return kept.verifier, nil
	}
	config := verify.Config{Scheme: verify.Scheme(rules.Scheme), Secrets: secrets, Header: rules.Header, Algorithm: rules.Algorithm, Encoding: rules.Encoding, Prefix: rules.Prefix}
	if config.Scheme == verify.StandardWebhooks {
		config.Tolerance = rules.Tolerance
	}
	verifier, err := verify.New(config)
	if err != nil {
		return nil, fault.Wrap(err, fault.Credentials, "verifier_unusable", "source %s of integration %s cannot verify anything", s.Name, e.Name)
	}
	v.known[name] = keptVerifier{secrets, verifier}
	return verifier, nil
}

// reveal reads the secrets that are set: during a rotation the old one may be
// gone already. None at all is an error.
func reveal(secrets []integration.Secret) ([]string, error) {
	var values []string
	var first error
	for _, s := range secrets {
		value, err := s.Reveal()
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		if !slices.Contains(values, value) {
			values = append(values, value)
		}
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("no secret is set: %w", first)
	}
	return values, nil
}
