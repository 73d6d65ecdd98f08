// Package planted holds the switches of known bugs, planted where real ones
// have been found elsewhere, to prove that the tests catch them:
//
//	make planted                        # every bug, one by one
//	go run ./test/planted offset_first  # one of them
//
// A plant is the smallest possible branch at the place in the product where the
// mistake would be made:
//
//	if planted.CommitAsync {
//		parameters["synchronous_commit"] = "off"
//	}
//
// Without the build tag `planted` each switch is the constant false, so that no
// binary holds any of it. With the tag, the environment variable
// WAYBILL_PLANTED names one bug, and a process refuses to run in production.
package planted

// Variable names the environment variable that chooses a bug.
const Variable = "WAYBILL_PLANTED"

// Names lists the bugs that can be chosen.
func Names() []string {
	return []string{
		"acks_none", "answer_before_commit", "offset_first", "highest_offset", "fence_dropped", "new_key_per_retry", "duplicate_not_redriven",
		"redirect_confirms", "file_from_row_zero", "step_apart", "content_as_key", "commit_async", "outbox_apart", "retry_early",
	}
}
