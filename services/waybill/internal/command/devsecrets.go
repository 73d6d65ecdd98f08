package command

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"waybill.internal/pkg/daemon"
)

// devSecrets makes up the secrets that integrations name and nobody has set, so
// that a newcomer's first `waybill up` works. Each is kept in a file and given
// as NAME_FILE. It is safe for concurrent use.
type devSecrets struct {
	dir    string
	parent daemon.Lookup

	mu    sync.Mutex
	names []string
}

func newDevSecrets(dir string, parent daemon.Lookup) *devSecrets {
	return &devSecrets{dir: dir, parent: parent}
}

func (d *devSecrets) path(name string) string { return filepath.Join(d.dir, name) }

// made lists the secrets that were given, by name.
func (d *devSecrets) made() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(slices.Values(d.names))
}

// lookup is the parent's, and NAME_FILE for what looks like a secret that is not set.
func (d *devSecrets) lookup(name string) (string, bool) {
	if value, ok := d.parent(name); ok {
		return value, ok
	}
	base, isFile := strings.CutSuffix(name, "_FILE")
	if !isFile || !secretName(base) {
		return "", false
	}
	if value, ok := d.parent(base); ok && value != "" {
		return "", false
	}
	if err := d.ensure(base); err != nil {
		return "", false // the integration's mistake then names the variable to set
	}
	return d.path(base), true
}

// secretName tells a secret of an integration from a setting of ours.
func secretName(name string) bool {
	return !strings.HasPrefix(name, "WAYBILL_") &&
		(strings.Contains(name, "SECRET") || strings.Contains(name, "TOKEN") || strings.Contains(name, "PASSWORD") || strings.Contains(name, "API_KEY"))
}

func (d *devSecrets) ensure(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.Contains(d.names, name) {
		return nil
	}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(d.path(name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist): // of an earlier run
	case err != nil:
		return err
	default:
		key := make([]byte, 32)
		rand.Read(key)
		_, err = fmt.Fprintln(f, "whsec_"+base64.StdEncoding.EncodeToString(key))
		if err = errors.Join(err, f.Close()); err != nil {
			return errors.Join(err, os.Remove(d.path(name)))
		}
	}
	d.names = append(d.names, name)
	return nil
}

// value reads a secret, whoever set it.
func (d *devSecrets) value(name string) (string, error) {
	if value, ok := d.parent(name); ok && value != "" {
		return value, nil
	}
	path, ok := d.lookup(name + "_FILE")
	if !ok {
		return "", usage("the secret %s is not set and none could be made in %s; set it", name, d.dir)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", usage("the secret %s: %w", name, err)
	}
	return strings.TrimSpace(string(raw)), nil
}
