package cases

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/provider"
)

// vector is one request with what the provider's own library says of it.
type vector struct {
	ID         string                     `json:"id"`
	Provider   string                     `json:"provider"`
	Method     string                     `json:"method"`
	URL        string                     `json:"url"`
	Headers    map[string]json.RawMessage `json:"headers"` // each a text or a list of texts
	Body       string                     `json:"body"`
	BodyFile   string                     `json:"body_file"`
	BodyBase64 string                     `json:"body_b64"`
	Secret     string                     `json:"secret"`
	Secrets    []string                   `json:"secrets"`     // any of them verifies
	Now        *int64                     `json:"now"`         // left out: the time the request says it was signed at
	Tolerance  *int64                     `json:"tolerance_s"` // left out: the scheme's; 0: the time is not judged
	Expect     string                     `json:"expect"`
	Why        string                     `json:"why"`
}

// What a vector expects.
const (
	expectValid   = "valid"
	expectInvalid = "invalid"
	expectBadBody = "valid_signature_bad_body" // verified, and then no JSON
	expectPolicy  = "policy"                   // libraries differ: our choice is noted
)

// schemeOf names our scheme for a provider of the vectors.
func schemeOf(name string) provider.Scheme {
	switch name {
	case "standardwebhooks", "standard_webhooks":
		return provider.StandardWebhooks
	case "bitbucket-server":
		return provider.Bitbucket
	case "forgejo", "gogs":
		return provider.Gitea
	case "whatsapp", "facebook":
		return provider.Meta
	}
	return provider.Scheme(name)
}

// vectorsFile runs the vectors of one provider and compares their number with the
// manifest's.
func vectorsFile(c Case) (out []string) {
	var all []vector
	if err := json.Unmarshal(c.Content(), &all); err != nil {
		return []string{"the vectors cannot be read: " + err.Error()}
	}
	counts := map[string]int{}
	for i, v := range all {
		counts[v.Expect]++
		if v.ID == "" {
			v.ID = fmt.Sprintf("vector %d", i+1)
		}
		for _, d := range v.compare(c) {
			out = append(out, fmt.Sprintf("%s (%s): %s", v.ID, v.Why, d))
		}
	}
	c.Checked(len(all))
	var want map[string]int
	if len(c.Expect) > 0 {
		if err := json.Unmarshal(c.Expect, &want); err != nil {
			return append(out, "what is expected cannot be read: "+err.Error())
		}
		for _, name := range sortedKeys(want) {
			differ(&out, "vectors that expect "+name, counts[name], want[name])
		}
	}
	if len(all) == 0 {
		out = append(out, "there are no vectors in it")
	}
	return out
}

func (v vector) compare(c Case) []string {
	request, err := v.request(c)
	if err != nil {
		return []string{err.Error()}
	}
	scheme := schemeOf(v.Provider)
	if !scheme.Known() {
		return []string{fmt.Sprintf("no scheme verifies requests of %q", v.Provider)}
	}
	verr := v.verify(scheme, request)
	switch v.Expect {
	case expectValid, expectBadBody:
		if verr != nil {
			return []string{"refused: " + verr.Error()}
		}
		if _, err := integration.DecodeJSON(request.Body); v.Expect == expectBadBody && err == nil {
			return []string{"the body was read, although it cannot be right"}
		}
	case expectInvalid:
		if verr == nil {
			return []string{"accepted"}
		}
	case expectPolicy:
		choice := "accepted"
		if verr != nil {
			choice = "refused: " + verr.Error()
		}
		c.Note("%s (%s): %s", v.ID, v.Why, choice)
	default:
		return []string{fmt.Sprintf("the expectation %q is not known here", v.Expect)}
	}
	return nil
}

// verify asks the product's verifier. A secret that no verifier takes (an empty one)
// refuses whatever comes.
func (v vector) verify(scheme provider.Scheme, r provider.Request) error {
	config := provider.Config{Scheme: scheme}
	for _, secret := range v.Secrets {
		if !slices.Contains(config.Secrets, secret) {
			config.Secrets = append(config.Secrets, secret)
		}
	}
	if len(config.Secrets) == 0 {
		config.Secrets = []string{v.Secret}
	}
	judged := v.Now != nil && (v.Tolerance == nil || *v.Tolerance > 0)
	if judged && v.Tolerance != nil && scheme.Timed() {
		config.Tolerance = time.Duration(*v.Tolerance) * time.Second
	}
	verifier, err := provider.New(config)
	if err != nil {
		return err
	}
	var now time.Time
	if judged {
		now = time.Unix(*v.Now, 0)
	} else {
		now, _ = provider.SignedAt(config, r)
	}
	_, err = verifier.Verify(r, now)
	return err
}

func (v vector) request(c Case) (provider.Request, error) {
	r := provider.Request{Method: v.Method, URL: v.URL, Header: http.Header{}, Body: []byte(v.Body)}
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	for name, raw := range v.Headers {
		var one string
		var many []string
		if err := json.Unmarshal(raw, &one); err == nil {
			many = []string{one}
		} else if err := json.Unmarshal(raw, &many); err != nil {
			return r, fmt.Errorf("the header %s is neither a text nor a list of texts", name)
		}
		for _, value := range many {
			r.Header.Add(name, value)
		}
	}
	var err error
	switch {
	case v.BodyFile != "":
		r.Body, err = c.Sibling(v.BodyFile)
	case v.BodyBase64 != "":
		r.Body, err = base64.StdEncoding.DecodeString(v.BodyBase64)
	}
	if err != nil {
		return r, fmt.Errorf("the body: %w", err)
	}
	return r, nil
}
