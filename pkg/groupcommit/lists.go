package groupcommit

import "context"

// Lists makes a Config.Commit for lists of items out of one for items: the lists of
// a batch are one call, and each gets its own part of the answer.
func Lists[T, R any](commit func(ctx context.Context, items []T) ([]R, error)) func(context.Context, [][]T) ([][]R, error) {
	return func(ctx context.Context, lists [][]T) ([][]R, error) {
		var all []T
		for _, list := range lists {
			all = append(all, list...)
		}
		results, err := commit(ctx, all)
		if err != nil || len(results) != len(all) {
			return nil, err // without an error the group says what is wrong
		}
		parts := make([][]R, len(lists))
		for i, list := range lists {
			parts[i], results = results[:len(list)], results[len(list):]
		}
		return parts, nil
	}
}
