package localstack

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJavaMajor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want int // 0: an error
	}{
		{`openjdk version "17.0.15" 2025-04-15`, 17},
		{`java version "1.8.0_402"`, 8},
		{`openjdk version "21" 2023-09-19`, 21},
		{`openjdk version "25-ea" 2025-09-16`, 25},
		{`openjdk version "x"`, 0},
		{`command not found`, 0},
	} {
		got, err := javaMajor(c.text)
		if got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%s: got %d, %v; want %d", c.text, got, err, c.want)
		}
	}
}

func TestInstalledPostgres(t *testing.T) {
	t.Parallel()
	root, elsewhere := t.TempDir(), t.TempDir()
	program := func(path string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	onPath := func(string) (string, error) { return filepath.Join(elsewhere, "initdb"), nil }
	nowhere := func(string) (string, error) { return "", os.ErrNotExist }

	program(filepath.Join(root, "17", "bin", "postgres")) // no initdb beside it
	if dir, ok := installedPostgres(root, nowhere); ok {
		t.Errorf("found %s, which has no initdb", dir)
	}
	program(filepath.Join(elsewhere, "initdb"))
	program(filepath.Join(elsewhere, "postgres"))
	if dir, ok := installedPostgres(root, onPath); !ok || filepath.Base(dir) != filepath.Base(elsewhere) {
		t.Errorf("got %s, %v; want the one on the PATH", dir, ok)
	}
	for _, version := range []string{"9.6", "15"} {
		program(filepath.Join(root, version, "bin", "initdb"))
		program(filepath.Join(root, version, "bin", "postgres"))
	}
	if dir, _ := installedPostgres(root, onPath); dir != filepath.Join(root, "15", "bin") {
		t.Errorf("got %s, want 15: the newest that is complete", dir)
	}
}

func TestAccountNamesTheClosedFolder(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "closed")
	inside := filepath.Join(closed, "inside")
	if err := errors.Join(os.MkdirAll(inside, 0o755), os.Chmod(closed, 0o700)); err != nil {
		t.Fatal(err)
	}
	stranger := &account{name: "stranger", uid: 4_000_000, gid: 4_000_000}
	if err := stranger.canReach(inside); err == nil || !strings.Contains(err.Error(), "pass through "+closed+":") {
		t.Errorf("got %v, want an error that names %s", err, closed)
	}
	if err := (*account)(nil).canReach(inside); err != nil {
		t.Errorf("as ourselves: %v", err)
	}
}

func TestPortsAreReservedAndRemembered(t *testing.T) {
	t.Parallel()
	remembered := filepath.Join(t.TempDir(), "port")
	first, err := choosePort(0, remembered)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := reserve(first.number); ok {
		t.Errorf("port %d was given twice", first.number)
	}
	first.release()
	again, err := choosePort(0, remembered)
	if err != nil {
		t.Fatal(err)
	}
	defer again.release()
	if again.number != first.number {
		t.Errorf("got port %d, want the remembered %d", again.number, first.number)
	}
}

func TestAReservedPortIsGivenOnce(t *testing.T) {
	t.Parallel()
	given := map[string]bool{}
	for range 300 {
		address, release, err := ReservePort()
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		if given[address] {
			t.Fatalf("%s was given twice", address)
		}
		given[address] = true
	}
}

// Only this test may skip: it is about Docker itself.
func TestDockerProvider(t *testing.T) {
	t.Parallel()
	if !dockerAnswers(t.Context()) {
		t.Skip("`docker info` fails: no Docker daemon here")
	}
	url, stopPostgres, err := startDockerPostgres(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stopPostgres(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := awaitPostgres(t.Context(), url); err != nil {
		t.Error(err)
	}
	addr, stopKafka, err := startDockerKafka(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := answers(t.Context(), addr); err != nil {
		t.Error(err)
	}
	if err := stopKafka(t.Context()); err != nil {
		t.Error(err)
	}
}

// A child between its fork and its exec holds what this process has just closed.
func TestListenAgain(t *testing.T) {
	t.Parallel()
	address, release, err := ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	held, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	var again net.Listener
	err = ListenAgain(func() (err error) {
		if tries++; tries == 3 { // the child has come to its exec
			err = held.Close()
		}
		if err == nil {
			again, err = net.Listen("tcp", address)
		}
		return err
	})
	if err != nil || tries < 3 {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	other := errors.New("no such interface")
	tries = 0
	if err := ListenAgain(func() error { tries++; return other }); !errors.Is(err, other) || tries != 1 {
		t.Errorf("%d tries, %v", tries, err)
	}
}
