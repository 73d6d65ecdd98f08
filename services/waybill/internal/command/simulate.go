package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"waybill.internal/services/waybill/internal/simulated"
)

// simulateStop bounds the end of requests under way.
const simulateStop = 3 * time.Second

type simulateCommand struct {
	ThirdParty thirdPartyCommand `cmd:"" name:"third-party" help:"A destination that times out, refuses, dies and has a bug."`
	Partner    partnerCommand    `cmd:"" help:"A partner's status API that refuses, forgets and lies."`
}

type simulatedFlags struct {
	Listen  string `default:"127.0.0.1:0" help:"Where to listen; port 0 takes a free one."`
	Seed    uint64 `default:"1" help:"The same seed misbehaves the same."`
	Script  string `help:"A JSON file that says how it misbehaves; the default is not at all."`
	Journal string `help:"A file to append one JSON line per request to."`
	Fsync   bool   `help:"Every line of the journal is on the disk before the answer leaves."`
}

type thirdPartyCommand struct {
	simulatedFlags `embed:""`
	Thing          string `default:"request_no" help:"The field that names the thing a request is about."`
}

func (thirdPartyCommand) Help() string {
	return `Serves POST /requests (honours Idempotency-Key), GET /state, and GET and POST /control for loopback.

Examples:
  echo '{"unavailable_rate":0.1,"retry_after_s":1,"bug":{"field":"request_no","modulo":500}}' > bad.json
  waybill simulate third-party --listen 127.0.0.1:8099 --script bad.json
  curl -X POST 127.0.0.1:8099/control -d '{"mend":true}'`
}

func (c thirdPartyCommand) Run(in *invocation) error {
	var script simulated.Script
	if err := readScript(c.Script, &script); err != nil {
		return err
	}
	journal, err := c.journal()
	if err != nil {
		return err
	}
	party, err := simulated.NewThirdParty(simulated.ThirdPartyConfig{Seed: c.Seed, Script: script, Journal: journal, ThingField: c.Thing, Now: in.Now})
	if err != nil {
		return errors.Join(usage("%w", err), journal.Close())
	}
	return errors.Join(in.serve(c.Listen, "third party", "/requests", party.Handler(), party.Close), journal.Close())
}

type partnerCommand struct {
	simulatedFlags `embed:""`
	Secret         string `required:"" help:"A file that holds the key statuses are signed with (whsec_…); - reads standard input."`
}

func (partnerCommand) Help() string {
	return `Serves POST /status (signed by Standard Webhooks), GET /state, and GET and POST /control for loopback.

Examples:
  waybill simulate partner --listen 127.0.0.1:8098 --secret brand.secret
  curl -X POST 127.0.0.1:8098/control -d '{"script":{"refuse_for_ms":10000,"retry_after_s":1}}'`
}

func (c partnerCommand) Run(in *invocation) error {
	var script simulated.PartnerScript
	if err := readScript(c.Script, &script); err != nil {
		return err
	}
	secret, err := in.secret(c.Secret)
	if err != nil {
		return err
	}
	journal, err := c.journal()
	if err != nil {
		return err
	}
	partner, err := simulated.NewPartner(simulated.PartnerConfig{Seed: c.Seed, Keys: []string{secret}, Script: script, Journal: journal, Now: in.Now})
	if err != nil {
		return errors.Join(usage("%w", err), journal.Close())
	}
	return errors.Join(in.serve(c.Listen, "partner", "/status", partner.Handler(), func() {}), journal.Close())
}

func (f simulatedFlags) journal() (*simulated.Journal, error) {
	if f.Journal == "" {
		return nil, nil //nolint:nilnil // a nil Journal keeps nothing
	}
	journal, err := simulated.OpenJournal(f.Journal, f.Fsync)
	if err != nil {
		return nil, usage("--journal: %w", err)
	}
	return journal, nil
}

func readScript(path string, script any) error {
	if path == "" {
		return nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return usage("--script: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(script); err != nil {
		return usage("--script %s: %w; waybill simulate … --help shows one", path, err)
	}
	return nil
}

// serve serves until interrupted; closing ends what hangs.
func (in *invocation) serve(address, name, path string, handler http.Handler, closing func()) error {
	listener, err := (&net.ListenConfig{}).Listen(in.ctx, "tcp", address)
	if err != nil {
		return usage("listen on %s: %w; is another process there?", address, err)
	}
	url := "http://" + listener.Addr().String()
	if err := in.print(map[string]string{"url": url + path, "state": url + "/state", "control": url + "/control"}, func(w io.Writer) {
		fmt.Fprintf(w, "%s at %s%s, state at %s/state, control at %s/control; Ctrl-C stops\n", name, url, path, url, url)
	}); err != nil {
		return errors.Join(err, listener.Close())
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }() // ends with Shutdown or Close below
	select {
	case err := <-served:
		closing()
		return fmt.Errorf("serve %s: %w", url, err)
	case <-in.ctx.Done():
	}
	closing()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(in.ctx), simulateStop)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close() // what does not end by itself is cut
	}
	return nil
}
