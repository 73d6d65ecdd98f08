package main

import (
	"math"
	"slices"
	"time"
)

// Spread is the repetitions of one figure.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// spread sums up values; none give zeros.
func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Min: sorted[0], Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Max: sorted[n-1]}
}

// quantile is the smallest latency that at least the share q did not exceed, in ms.
func quantile(latencies []time.Duration, q float64) float64 {
	if len(latencies) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(latencies))
	at := int(math.Ceil(q*float64(len(sorted)))) - 1
	return float64(sorted[min(max(at, 0), len(sorted)-1)]) / float64(time.Millisecond)
}
