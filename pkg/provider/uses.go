package provider

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// MaxUses bounds the secrets a Uses remembers: sources times live secrets.
const MaxUses = 100_000

// Uses remembers when each secret of each source last verified a request, so that
// a rotation can be seen to be over before the old secret is taken away. It is safe
// for concurrent use and holds no goroutine. The zero Uses is ready.
type Uses struct {
	mu   sync.Mutex
	last map[useKey]time.Time
}

type useKey struct {
	source string
	index  int
}

// Use is when one secret last verified a request.
type Use struct {
	Source string // as it was noted
	Index  int    // in the source's list of secrets, from 0
	At     time.Time
}

// Note remembers that a secret verified a request at that time; an earlier time than
// the known one changes nothing. Beyond MaxUses new secrets are not remembered.
func (u *Uses) Note(source string, index int, at time.Time) {
	if index < 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = map[useKey]time.Time{}
	}
	key := useKey{source, index}
	known, ok := u.last[key]
	if !ok && len(u.last) >= MaxUses || ok && !at.After(known) {
		return
	}
	u.last[key] = at
}

// Snapshot lists what is known, by source and index.
func (u *Uses) Snapshot() []Use {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make([]Use, 0, len(u.last))
	for key, at := range u.last {
		all = append(all, Use{key.source, key.index, at})
	}
	slices.SortFunc(all, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Index, b.Index))
	})
	return all
}
