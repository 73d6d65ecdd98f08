package stream_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine of this package outlives Run, Close and their contexts.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
