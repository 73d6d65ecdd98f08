// Package expression compiles and evaluates the expressions of an integration
// file: predicates, mappings, keys and URL templates.
//
// The language is expr-lang/expr, made safe for other people's data:
//
//   - Pure. There is no clock, no environment, no network and no randomness:
//     the same values give the same result on every machine and every retry.
//   - Missing is nil. Reading a field of nothing, an absent field, or an element
//     outside a list gives nil instead of an error: body.a.b.c is nil when a is
//     absent. Reading a field of a text, a number or a bool is an error.
//   - Times compare as times. When both sides of ==, !=, <, <=, > or >= are RFC 3339
//     texts with an offset (or times), they compare as instants, so different
//     offsets are right. Any other pair of texts compares byte by byte.
//   - Numbers do not round. int, float64 and json.Number compare exactly with
//     each other; + - * on whole numbers fail on overflow rather than wrap;
//     arithmetic on a number too long for int64 and float64 is an error.
//   - Bounded. An expression has at most MaxLength characters and MaxNodes
//     nodes, one evaluation runs predicates at most MaxRounds times, and a text it
//     builds has at most MaxTextBytes bytes.
//
// Comparing nothing (nil) or values of different kinds with < or > is an error;
// say what should happen: "closed_at == nil || closed_at >= opened_at".
//
// Functions: all any none one filter map find findIndex findLast findLastIndex
// count sum reduce sortBy len keys first last take reverse sort type abs ceil
// floor round int float string trim trimPrefix trimSuffix upper lower split
// join replace indexOf lastIndexOf hasPrefix hasSuffix max min mean median
// sha256, parse_time(text, layout) and format_time(time, layout) with Go's
// layouts. The text functions string, trim, upper, lower, replace and sha256 give nil for
// nil; len of nil is 0. Operators: those of expr, "??" among them.
//
// A Program is immutable and may be used by any number of goroutines.
package expression
