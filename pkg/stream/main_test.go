package stream_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// pollEnd is how long kafka-go may keep a connection whose request was given up:
// until its answer comes, which for a poll of a broker that stopped is its deadline.
const pollEnd = 20 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		if err := noGoroutines(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func noGoroutines() error {
	for end := time.Now().Add(pollEnd); ; {
		err := goleak.Find() // waits about half a second itself
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}
