package localstack

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is who a server runs as, when that is not us.
type account struct {
	name     string
	uid, gid uint32
}

// unprivileged names the account that Postgres runs as: nil means as ourselves,
// because we are not root.
func unprivileged() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("account %s has no numeric ids: %w", name, err)
		}
		return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, errors.New("postgres refuses to run as root, and there is neither an account `postgres` nor `nobody`: start as another user")
}

func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// own gives a file or folder, not what lies in it, to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	if err := os.Chown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("give %s to account %s: %w", path, a.name, err)
	}
	return nil
}

// canReach tells, by an error naming the first closed folder, whether the account
// may pass through every folder from the root down to dir.
func (a *account) canReach(dir string) error {
	if a == nil {
		return nil
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for folder := dir; ; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil {
			return err
		}
		if !a.mayPass(info) {
			return fmt.Errorf("postgres runs as account %s, which may not pass through %s: choose a folder open to it (such as one under %s) or `chmod o+x` it",
				a.name, folder, os.TempDir())
		}
		if folder == filepath.Dir(folder) {
			return nil
		}
	}
}

func (a *account) mayPass(info os.FileInfo) bool {
	const byOwner, byGroup, byOthers = 0o100, 0o010, 0o001
	mode := info.Mode().Perm()
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && stat.Uid == a.uid:
		return mode&byOwner != 0
	case ok && stat.Gid == a.gid:
		return mode&byGroup != 0
	default:
		return mode&byOthers != 0
	}
}
