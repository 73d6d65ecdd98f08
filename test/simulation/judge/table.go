// Package judge decides whether what a simulation did was right. It knows the
// promises of Waybill and nothing of its code: it imports the standard library
// only, keeps its own mirror of every record, and has its own table of what
// may follow what. It is told what was committed, called, executed, answered
// and confirmed, and collects violations.
package judge

// may says, per event, which state may follow which. An attempt that failed
// ends in one of several states, by its class and the attempts left.
var may = map[string]map[string][]string{
	"accepted":   {"": {"queued"}},
	"invalid":    {"": {"rejected"}},
	"claimed":    {"queued": {"processing"}, "retrying": {"processing"}},
	"overtaken":  {"queued": {"superseded"}, "retrying": {"superseded"}, "processing": {"superseded"}},
	"behind":     {"queued": {"parked"}, "retrying": {"parked"}},
	"succeeded":  {"processing": {"processed"}},
	"refused":    {"processing": {"rejected"}},
	"failed":     {"processing": {"retrying", "rejected", "parked", "dead"}},
	"set_aside":  {"processing": {"parked"}},
	"gave_up":    {"processing": {"dead"}},
	"lost":       {"processing": {"queued", "dead"}},
	"isolated":   {"processing": {"processing"}},
	"given_back": {"processing": {"queued"}},
	"redriven":   {"queued": {"queued"}, "retrying": {"retrying"}},
	"due":        {"retrying": {"retrying"}},
	"released":   {"parked": {"queued"}},
	"held":       {"queued": {"parked"}, "retrying": {"parked"}, "parked": {"parked"}},
	"discard":    {"queued": {"discarded"}, "retrying": {"discarded"}, "parked": {"discarded"}, "dead": {"discarded"}},
	"requeued":   {"parked": {"queued"}, "dead": {"queued"}, "rejected": {"queued"}, "retrying": {"queued"}, "discarded": {"queued"}},
	"replayed":   {"processed": {"queued"}, "superseded": {"queued"}},
	"revived":    {"rejected": {"queued"}},
}

// mayTell is the same for the outcome beside a final record.
var mayTell = map[string]map[string][]string{
	"sent":          {"due": {"sent"}},
	"confirmed":     {"sent": {"acknowledged"}, "due": {"acknowledged"}, "unacknowledged": {"acknowledged"}},
	"unconfirmed":   {"sent": {"due", "unacknowledged"}},
	"send_lost":     {"sent": {"due"}, "due": {"due"}},
	"due":           {"due": {"due"}},
	"send_requeued": {"unacknowledged": {"due"}},
}

var states = []string{"queued", "processing", "retrying", "parked", "processed", "rejected", "superseded", "discarded", "dead"}

var final = map[string]bool{"processed": true, "rejected": true, "superseded": true, "discarded": true, "dead": true}

// byHolder are the events that only the session which holds the record may cause.
var byHolder = map[string]bool{
	"succeeded": true, "refused": true, "failed": true, "set_aside": true, "gave_up": true, "isolated": true, "given_back": true, "unconfirmed": true,
}
