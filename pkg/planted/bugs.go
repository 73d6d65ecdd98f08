//go:build planted

package planted

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// chosen is read once, when the process starts: a bug does not come and go.
var chosen = os.Getenv(Variable)

// One of these is true at most. The meanings stand at the constants of the
// other build.
var (
	AcksNone             = chosen == "acks_none"
	AnswerBeforeCommit   = chosen == "answer_before_commit"
	OffsetFirst          = chosen == "offset_first"
	HighestOffset        = chosen == "highest_offset"
	FenceDropped         = chosen == "fence_dropped"
	NewKeyPerRetry       = chosen == "new_key_per_retry"
	DuplicateNotRedriven = chosen == "duplicate_not_redriven"
	RedirectConfirms     = chosen == "redirect_confirms"
	FileFromRowZero      = chosen == "file_from_row_zero"
	StepApart            = chosen == "step_apart"
	ContentAsKey         = chosen == "content_as_key"
	CommitAsync          = chosen == "commit_async"
	OutboxApart          = chosen == "outbox_apart"
	RetryEarly           = chosen == "retry_early"
)

// Allowed reports why a process of this build must not run: it is in
// production, or the bug that it was given is none.
func Allowed(environment string) error {
	if environment == "production" {
		return errors.New("this binary was built with the tag planted, to hold known bugs: it does not run in production; build it without")
	}
	if chosen != "" && !slices.Contains(Names(), chosen) {
		return fmt.Errorf("%s is %q; give one of %s, or nothing", Variable, chosen, strings.Join(Names(), ", "))
	}
	return nil
}
