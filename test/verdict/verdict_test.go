package main

import (
	"bytes"
	"strings"
	"testing"
)

const passing = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`

func TestVerdict(t *testing.T) {
	t.Parallel()
	const docker = `{"Action":"output","Package":"p","Test":"TestDocker","Output":"no daemon\n"}
{"Action":"skip","Package":"p","Test":"TestDocker"}
`
	for title, c := range map[string]struct {
		events string
		args   []string
		status int
		want   []string
		not    string
	}{
		"passes":            {events: passing, want: []string{"ok  \tp\t0.1s", "1 passed, 0 failed, 0 skipped\n"}, not: "=== RUN"},
		"empty":             {status: 1, want: []string{"NOTHING WAS TESTED"}},
		"no test files":     {events: passing + `{"Action":"start","Package":"q"}` + "\n" + `{"Action":"skip","Package":"q"}`, args: []string{"-no-skips"}, want: []string{"1 passed, 0 failed, 0 skipped\n"}},
		"skip allowed":      {events: passing + docker, want: []string{"SKIPPED p.TestDocker\nno daemon\n", "1 passed, 0 failed, 1 skipped\n"}},
		"skip refused":      {events: passing + docker, args: []string{"-no-skips"}, status: 1, want: []string{"NO TEST MAY SKIP HERE: p.TestDocker"}},
		"skip by name":      {events: passing + docker, args: []string{"-no-skips", "-may-skip", "p.TestDocker"}, want: []string{"1 skipped"}},
		"skip of another":   {events: passing + docker, args: []string{"-no-skips", "-may-skip", "q.TestDocker"}, status: 1, want: []string{"p.TestDocker"}},
		"failure":           {events: passing + `{"Action":"output","Package":"p","Test":"TestB","Output":"because\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestB"}`, status: 1, want: []string{"FAILED p.TestB\nbecause\n", "1 passed, 1 failed"}},
		"build":             {events: passing + `{"ImportPath":"q","Action":"build-output","Output":"q.go:1: broken\n"}` + "\n" + `{"ImportPath":"q","Action":"build-fail"}`, status: 1, want: []string{"BUILD FAILED q\nq.go:1: broken\n", "1 packages or builds failed"}},
		"package fails":     {events: passing + `{"Action":"start","Package":"q"}` + "\n" + `{"Action":"output","Package":"q","Output":"leak found\n"}` + "\n" + `{"Action":"fail","Package":"q"}`, status: 1, want: []string{"leak found\n", "1 passed, 1 failed"}},
		"panic cuts off":    {events: `{"Action":"start","Package":"p"}` + "\n" + `{"Action":"output","Package":"p","Test":"TestA","Output":"panic: no\n"}` + "\n" + `{"Action":"fail","Package":"p"}`, status: 1, want: []string{"CUT OFF p.TestA\npanic: no\n", "0 passed, 1 failed"}},
		"stream breaks off": {events: passing + `{"Action":"start","Package":"q"}`, status: 1, want: []string{"NOT FINISHED q"}},
		"other lines":       {events: "stack: Postgres is up\n" + passing, want: []string{"stack: Postgres is up\n", "1 passed"}},
		"usage":             {args: []string{"file.json"}, status: 2},
		"unknown flag":      {args: []string{"-quiet"}, status: 2},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			var out, stderr bytes.Buffer
			if got := run(c.args, strings.NewReader(c.events), &out, &stderr); got != c.status {
				t.Errorf("exit status %d, want %d\n%s%s", got, c.status, &out, &stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in\n%s", want, &out)
				}
			}
			if c.not != "" && strings.Contains(out.String(), c.not) {
				t.Errorf("%q is in\n%s", c.not, &out)
			}
		})
	}
}

func TestKeptIsBounded(t *testing.T) {
	t.Parallel()
	var k kept
	for range 3 * maxKept / 1000 {
		k.add(strings.Repeat("x", 1000))
	}
	k.add("the end")
	if len(k.text) > maxKept || !strings.HasSuffix(k.String(), "the end") || !strings.HasPrefix(k.String(), "(the beginning") {
		t.Errorf("%d bytes are kept, cut %v", len(k.text), k.cut)
	}
	var out, stderr bytes.Buffer
	if got := run(nil, strings.NewReader(strings.Repeat("x", maxLine+1)), &out, &stderr); got != statusFailed || stderr.Len() == 0 {
		t.Errorf("an endless line gives status %d, %q", got, &stderr)
	}
}
