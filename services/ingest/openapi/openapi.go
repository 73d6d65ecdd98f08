// Package openapi holds the description of what ingest answers over HTTP, for
// people and for programs: OpenAPI 3.1, served at /openapi.json. Webhook sources
// have paths of their own choosing; the document shows them as one, /in/{source}.
// A test of test/http holds every path, status, header and schema true.
package openapi

import (
	_ "embed"
	"slices"
)

//go:embed openapi.json
var document []byte

// Document is the OpenAPI document, as JSON.
func Document() []byte { return slices.Clone(document) }
