package demo

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"waybill.internal/services/waybill/internal/console"
)

// typed is a command line as it is typed.
func typed(args []string) string {
	var out strings.Builder
	for _, a := range args {
		out.WriteByte(' ')
		if strings.ContainsAny(a, " '\"$") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out.WriteString(a)
	}
	return out.String()
}

func outcomes(counts map[string]int64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %s", console.Count(counts[name]), strings.ReplaceAll(name, "_", " ")))
	}
	return strings.Join(parts, ", ")
}
