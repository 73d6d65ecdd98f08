package demo

import (
	"crypto/rand"
	"encoding/base64"

	"waybill.internal/services/waybill/internal/simulated"
)

// aboutBugs is how many records the third party's bug meets, more or less.
const aboutBugs = 40

func newKey() string {
	key := make([]byte, 32)
	rand.Read(key)
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// mix is what the sender sends.
func mix() simulated.Mix {
	return simulated.Mix{Duplicate: 0.03, UnknownProduct: 0.02, ClosedEarly: 0.01, Unsigned: 0.005, Malformed: 0.005}
}

func (d *Demo) bug() *simulated.Bug {
	return &simulated.Bug{Field: "request_no", Modulo: uint64(max(d.Records/aboutBugs, 2))}
}

// misbehaviour is the third party's, until it dies.
func (d *Demo) misbehaviour() simulated.Script {
	return simulated.Script{TimeoutRate: 0.003, TimeoutMS: 2500, UnavailableRate: 0.03, RetryAfterS: 1, LateErrorRate: 0.01, ResetRate: 0.005, Bug: d.bug()}
}

// badPartner refuses for a while, then forgets and lies for some requests.
func badPartner() simulated.PartnerScript {
	return simulated.PartnerScript{RefuseForMS: 8000, RetryAfterS: 1, MisbehaveRequests: 20, SkipRate: 0.1, WrongNumberRate: 0.02, LieRate: 0.05, RedirectRate: 0.05}
}
