package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args string
		code int
		want []string
	}{
		{"-seeds 20", 0, []string{"20 seeds, ", "virtual years", "faults:", "no promise broken"}},
		{"-seed 7", 0, []string{"record 0 accepted", "1 seeds, "}},
		{"-seeds many", 2, []string{"invalid value"}},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if code := run(strings.Fields(tt.args), &out); code != tt.code {
				t.Errorf("status %d, want %d", code, tt.code)
			}
			for _, w := range tt.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%q is missing", w)
				}
			}
		})
	}
}
