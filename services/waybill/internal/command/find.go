package command

import (
	"errors"
	"fmt"
	"strings"

	"waybill.internal/pkg/ledger"
	"waybill.internal/pkg/record"
)

// maxNameBytes bounds what is searched for: no id and no key is longer.
const maxNameBytes = record.MaxKeyBytes

// found is what a name stands for: a record, an interaction without one, or a file.
type found struct {
	record      record.Record
	by          string
	interaction *ledger.Interaction
	file        *ledger.FileStory
}

// recordless says what a name stands for that is no record's, "" if it is one's.
func (f found) recordless() string {
	switch {
	case f.interaction != nil:
		return "a request that was " + f.interaction.Kind
	case f.file != nil:
		return "a file of " + f.file.Integration
	default:
		return ""
	}
}

// find looks a name up as record id, tracking id and idempotency key, in this order.
func (in *invocation) find(b *book, name, integration string) (found, error) {
	if name == "" || len(name) > maxNameBytes {
		return found{}, usage("give a record id, a tracking id or an idempotency key of at most %d bytes", maxNameBytes)
	}
	var tried []string
	if id, err := record.ParseID(strings.ToLower(name)); err == nil {
		f, err := in.findID(b, id)
		if !errors.Is(err, ledger.ErrNotFound) {
			return f, err
		}
		tried = append(tried, "record id", "tracking id")
	}
	f, where, err := in.findKey(b, name, integration)
	if err != nil || f.by != "" {
		return f, err
	}
	if len(where) > 0 {
		tried = append(tried, "idempotency key of "+strings.Join(where, ", "))
	}
	if len(tried) == 0 {
		tried = append(tried, "nothing, because the ledger knows no integration")
	}
	return found{}, problem(fmt.Errorf("%q: %w; tried it as %s", name, ledger.ErrNotFound, strings.Join(tried, "; ")))
}

func (in *invocation) findID(b *book, id record.ID) (found, error) {
	records, err := b.Records(in.ctx, []record.ID{id})
	if err != nil {
		return found{}, err
	}
	if r, ok := records[id]; ok {
		return found{record: r, by: "record id"}, nil
	}
	// Before the records: those that a file's rows became carry its tracking id.
	file, err := b.FileByTracking(in.ctx, id)
	if err == nil {
		return found{by: "tracking id", file: &file}, nil
	}
	if !errors.Is(err, ledger.ErrNotFound) {
		return found{}, err
	}
	interaction, known, err := b.Interaction(in.ctx, id)
	if err != nil {
		return found{}, err
	}
	of, err := b.ByTracking(in.ctx, id)
	if errors.Is(err, ledger.ErrNotFound) && known {
		return found{by: "tracking id", interaction: &interaction}, nil
	}
	if err != nil {
		return found{}, err
	}
	if records, err = b.Records(in.ctx, []record.ID{of}); err != nil {
		return found{}, err
	}
	return found{record: records[of], by: "tracking id"}, nil
}

// findKey derives the id that the key has in each integration.
func (in *invocation) findKey(b *book, key, integration string) (found, []string, error) {
	installation, err := b.InstallationKey(in.ctx)
	if err != nil {
		return found{}, nil, err
	}
	names := []string{integration}
	if integration == "" {
		names = nil
		versions, err := b.CurrentVersions(in.ctx)
		if err != nil {
			return found{}, nil, err
		}
		for _, v := range versions {
			names = append(names, v.Integration)
		}
	}
	ids := make([]record.ID, len(names))
	for i, name := range names {
		ids[i] = record.DeriveID(installation, name, key)
	}
	records, err := b.Records(in.ctx, ids)
	if err != nil {
		return found{}, names, err
	}
	if len(records) > 1 {
		var of []string
		for _, r := range records {
			of = append(of, fmt.Sprintf("%s (%s)", r.Integration, r.ID))
		}
		return found{}, names, problem(fmt.Errorf("%q is the idempotency key of %d records: %s; choose one by its id or with --integration", key, len(of), strings.Join(of, ", ")))
	}
	for _, r := range records {
		return found{record: r, by: "idempotency key"}, names, nil
	}
	return found{}, names, nil
}
