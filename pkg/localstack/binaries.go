package localstack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// fetchedPostgres is the version fetched where the machine has none.
const fetchedPostgres = embeddedpostgres.V17

// debianPostgres is where Debian and its children install server programs, which
// they do not put on the PATH.
const debianPostgres = "/usr/lib/postgresql"

// postgresBinaries finds the folder with initdb and postgres, the newest version
// first, and fetches one when the machine has none.
func postgresBinaries(ctx context.Context, runAs *account) (string, error) {
	if dir, ok := installedPostgres(debianPostgres, exec.LookPath); ok {
		return dir, nil
	}
	return fetchPostgres(ctx, runAs)
}

func installedPostgres(root string, lookPath func(string) (string, error)) (string, bool) {
	versions, _ := filepath.Glob(filepath.Join(root, "*", "bin")) // the pattern is constant: no error
	number := func(i int) float64 {
		n, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(versions[i])), 64)
		return n
	}
	sort.Slice(versions, func(i, j int) bool { return number(i) > number(j) })
	for _, dir := range versions {
		if hasPostgres(dir) {
			return dir, true
		}
	}
	path, err := lookPath("initdb")
	if err != nil {
		return "", false
	}
	// A link on the PATH leads to the folder where the other programs are.
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", false
	}
	return filepath.Dir(path), hasPostgres(filepath.Dir(path))
}

// hasPostgres checks for both programs: client-only packages have neither, some
// images only the second.
func hasPostgres(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.IsDir() || info.Mode().Perm()&0o111 == 0 {
			return false
		}
	}
	return true
}

// fetchPostgres downloads and unpacks a Postgres once into the cache; when the
// account that will run it cannot reach the cache, into the system's.
func fetchPostgres(ctx context.Context, runAs *account) (string, error) {
	cache, err := postgresCache(runAs)
	if err != nil {
		return "", err
	}
	unpacked := filepath.Join(cache, "postgres-"+string(fetchedPostgres))
	bin := filepath.Join(unpacked, "bin")
	lock, err := waitLock(ctx, unpacked+".lock")
	if err != nil {
		return "", fmt.Errorf("fetch postgres: %w", err)
	}
	defer lock.Close()
	if hasPostgres(bin) {
		return bin, nil
	}

	scratch, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", fmt.Errorf("fetch postgres: %w", err)
	}
	defer os.RemoveAll(scratch)
	startErr := unpackOnly(cache, unpacked, scratch)
	if !hasPostgres(bin) {
		return "", fmt.Errorf("no Postgres on this machine (looked for initdb in %s/*/bin and on the PATH), and fetching one failed: %w; install the package postgresql", debianPostgres, startErr)
	}
	return bin, nil
}

// unpackOnly uses the library for what it does well, fetching and unpacking. It
// has no call for that alone, so its Start is given a data folder that looks
// used but is empty: it unpacks, tries to start, and fails at once. Running the
// server stays ours, for root and for faults.
func unpackOnly(cache, unpacked, scratch string) error {
	data := filepath.Join(scratch, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("17\n"), 0o600); err != nil {
		return err
	}
	free, err := choosePort(0, filepath.Join(scratch, "port"))
	if err != nil {
		return err
	}
	defer free.release()
	defer http.DefaultClient.CloseIdleConnections() // the library's client, which keeps one open
	return embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(fetchedPostgres).
		Port(uint32(free.number)).
		CachePath(cache).
		BinariesPath(unpacked).
		RuntimePath(filepath.Join(scratch, "run")).
		DataPath(data).
		Logger(io.Discard)).Start()
}

func postgresCache(runAs *account) (string, error) {
	const system = "/var/cache/waybill"
	dir, err := cacheDir()
	if err != nil {
		dir = system
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	if runAs.canReach(dir) == nil {
		return dir, nil
	}
	if err := os.MkdirAll(system, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	return system, runAs.canReach(system)
}
