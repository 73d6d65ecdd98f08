package ledgertest

import (
	"errors"
	"time"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

func findPromises() []promise {
	return []promise{
		{name: "every interaction is found by its tracking id", test: byTracking},
		{name: "a record's whole story is traced", test: trace},
		{name: "tail shows what ended, whole transactions at a time", test: tail},
	}
}

func byTracking(f *fixture) {
	session := f.session()
	a, twin := f.arrival("k"), f.arrival("k")
	receipts, _ := f.accept(session, a, twin)
	c := f.claim(session, receipts[0].Record)[0]
	s := settlement(c, record.Fact{Event: record.Succeeded})
	call := ledger.Interaction{TrackingID: tracking(), Kind: "call", Method: "POST", URL: "http://crm", Status: 200, At: time.Now(), Duration: 12 * time.Millisecond, ResponseBody: "ok\x00\xff"}
	s.Interactions = []ledger.Interaction{call}
	f.settle(session, s)
	for what, id := range map[string][16]byte{"accepted": a.Payload.TrackingID, "duplicate": twin.Request().TrackingID, "call": call.TrackingID} {
		found, err := f.l.ByTracking(f.Context(), id)
		if err != nil || found != a.ID {
			f.Errorf("%s: found %s, %v", what, found, err)
		}
	}
	refused := ledger.Interaction{TrackingID: tracking(), Integration: shop, Method: "POST", URL: "/in/shop", Status: 401, Error: "the signature is wrong", At: time.Now()}
	f.must(f.l.Refuse(f.Context(), []ledger.Interaction{refused}))
	i, found, err := f.l.Interaction(f.Context(), refused.TrackingID)
	f.must(err)
	f.expect("refused", say(found, i.Kind, i.Status, i.Seq), "true refused 401 0")
	for _, id := range [][16]byte{refused.TrackingID, tracking(), {1}, {}} {
		if _, err := f.l.ByTracking(f.Context(), id); !errors.Is(err, ledger.ErrNotFound) {
			f.Errorf("about no record: %v", err)
		}
	}
	f.expect("counted", f.audit().Integrations[shop].Refused, 1)
}

func trace(f *fixture) {
	session := f.session()
	r, _ := f.work(session, f.records(session, shop, 1)[0], failed(record.ClassSystem))
	r, _ = f.work(session, r, gaveUp())
	f.do(record.Requeued, r)
	story, err := f.l.Trace(f.Context(), r.ID)
	f.must(err)
	state := record.State("processing")
	for _, h := range story.History {
		next, err := record.Next(record.State(h.From), h.Event)
		if err != nil || string(next) != h.To || h.EndedAt.Before(h.StartedAt) {
			f.Errorf("history row %+v: %v", h, err)
		}
		state = next
	}
	f.expect("ends where the record stands", say(state, len(story.History), len(story.Payloads)), say(story.Record.State, 3, 1))
	if _, err := f.l.Trace(f.Context(), record.DeriveID(f.key, shop, "never came")); !errors.Is(err, ledger.ErrNotFound) {
		f.Errorf("an unknown record: %v", err)
	}
}

func tail(f *fixture) {
	const n, limit = 7, 3
	session := f.session()
	var batch []ledger.Settlement
	for _, r := range f.claim(session, f.records(session, shop, n)...) {
		batch = append(batch, settlement(r, record.Fact{Event: record.Succeeded}))
	}
	f.settle(session, batch...)
	last, _ := f.work(session, f.records(session, shop, 1)[0], record.Fact{Event: record.Succeeded})
	seen := map[record.ID]int{}
	var after time.Time
	for range n {
		page, err := f.l.Tail(f.Context(), after, limit)
		f.must(err)
		for _, p := range page {
			seen[p.ID]++
			after = p.At
		}
	}
	f.expect("seen", len(seen), n+1)
	f.expect("the last, once", seen[last.ID], 1)
}
