package notify

import (
	"context"
	"errors"
	"net/http"
	"time"

	"waybill.internal/pkg/egress"
	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
	"waybill.internal/pkg/signature"
	"waybill.internal/services/acknowledger/internal/confirm"
)

// errLapsed stops a request before it leaves.
var errLapsed = errors.New("the session has lapsed: the outcomes are somebody else's")

// interactionKind is the kind under which the ledger keeps these requests.
const interactionKind = "notify"

// partner posts to one integration's status API.
type partner struct {
	acknowledge *integration.Acknowledge
	client      *egress.Client
	now         func() time.Time // ledger's clock
}

func newPartner(in *integration.Integration, userAgent string, now func() time.Time) (*partner, error) {
	post := in.Acknowledge.Post
	client, err := egress.New(egress.Options{AllowPrivate: post.AllowPrivate, Timeout: post.Timeout, MaxIdlePerHost: post.Concurrency, UserAgent: userAgent})
	if err != nil {
		return nil, err
	}
	return &partner{acknowledge: in.Acknowledge, client: client, now: now}, nil
}

func (p *partner) close() { p.client.Close() }

// tell posts the statuses and judges the answer. A request that the partner
// refuses for its content is told again in halves, so that one status which the
// partner cannot take does not keep the others from being confirmed: at most
// 2n-1 requests for n statuses. The settlements are in the order of told; the
// first one carries the request's interaction.
func (p *partner) tell(ctx context.Context, alive func() bool, told []record.Record) []ledger.Settlement {
	answer, interaction := p.request(ctx, alive, told)
	var settlements []ledger.Settlement
	if half := len(told) / 2; half > 0 && answer.Divisible() && ctx.Err() == nil {
		settlements = append(p.tell(ctx, alive, told[:half]), p.tell(ctx, alive, told[half:])...)
	} else {
		settlements = confirm.Judge(p.acknowledge, answer, told)
	}
	if interaction != nil {
		settlements[0].Interactions = append(settlements[0].Interactions, *interaction)
	}
	return settlements
}

// request posts one batch; the interaction is nil when nothing left.
func (p *partner) request(ctx context.Context, alive func() bool, told []record.Record) (confirm.Answer, *ledger.Interaction) {
	answer := confirm.Answer{StartedAt: p.now()}
	body, header, err := p.render(told, answer.StartedAt)
	if err == nil && !alive() {
		err = errLapsed
	}
	if err != nil {
		answer.Err, answer.EndedAt = err, p.now()
		return answer, nil
	}
	response, call, err := p.client.Do(ctx, egress.Request{Method: http.MethodPost, URL: p.acknowledge.Post.To, Header: header, Body: body})
	answer.Response, answer.Err, answer.EndedAt = response, err, p.now()
	interaction := ledger.CallInteraction(interactionKind, call, answer.StartedAt)
	return answer, &interaction
}

// render makes body and header. Secrets are read now, so that a rotated one is
// taken up without a restart.
func (p *partner) render(told []record.Record, at time.Time) ([]byte, http.Header, error) {
	id, body, err := message(told)
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Bug, "encode_statuses", "the statuses cannot be encoded")
	}
	post := p.acknowledge.Post
	header := http.Header{}
	if post.Sign != nil {
		keys, err := signingKeys(post.Sign.Secrets)
		if err == nil {
			header, err = signature.Sign(keys, id, at, body)
		}
		if err != nil {
			return nil, nil, fault.Wrap(err, fault.Credentials, "signing_secret", "the statuses cannot be signed: %v", err)
		}
	} else {
		header.Set(signature.HeaderID, id)
	}
	header.Set("Content-Type", "application/json")
	if err := post.Auth.Apply(header); err != nil {
		return nil, nil, fault.Wrap(err, fault.Credentials, "secret_unreadable", "the credentials for the partner cannot be read: %v", err)
	}
	return body, header, nil
}

func signingKeys(secrets []integration.Secret) ([]signature.Key, error) {
	keys := make([]signature.Key, 0, len(secrets))
	for _, s := range secrets {
		text, err := s.Reveal()
		if err != nil {
			return nil, err
		}
		key, err := signature.ParseKey(text)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}
