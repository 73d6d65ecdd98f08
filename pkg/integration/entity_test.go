package integration_test

import (
	"os"
	"path/filepath"
	"testing"

	"waybill.internal/pkg/integration"
)

func TestDeleteLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		bound       string
		known, want int64
	}{{"10%", 100, 10}, {"10%", 9, 0}, {"0%", 1000, 0}, {"100%", 7, 7}, {"0.5%", 1000, 5}, {"25", 3, 25}, {"0", 100, 0}, {"", 50, 5}} {
		if got := (&integration.Snapshot{MaxDeletes: c.bound}).DeleteLimit(c.known); got != c.want {
			t.Errorf("%s of %d: %d, want %d", c.bound, c.known, got, c.want)
		}
	}
	if got := (*integration.Snapshot)(nil).DeleteLimit(200); got != 20 {
		t.Errorf("without a snapshot of its own: %d, want 20", got)
	}
}

func TestContentHash(t *testing.T) {
	t.Parallel()
	hash := func(text string) [32]byte {
		v, err := integration.DecodeJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		h, err := integration.ContentHash(v)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if hash(`{"a":"1","b":[2,null]}`) != hash("{ \"b\" : [2, null],\n\"a\":\"1\"}") {
		t.Error("blanks or the order of keys count")
	}
	for _, other := range []string{`{"a":1,"b":[2,null]}`, `{"a":"1","b":[null,2]}`, `{"a":"1","b":[2]}`, `{"a":"1","b":[2,null],"c":null}`} {
		if hash(other) == hash(`{"a":"1","b":[2,null]}`) {
			t.Errorf("%s counts as the same", other)
		}
	}
}

func TestDeleteBody(t *testing.T) {
	t.Parallel()
	for last, want := range map[string]string{
		`{"sku":"a","deleted":"no"}`: `{"deleted":true,"entity_key":"k","sku":"a"}`,
		``:                           `{"deleted":true,"entity_key":"k"}`,
		`[1]`:                        `{"deleted":true,"entity_key":"k"}`,
		`{"broken`:                   `{"deleted":true,"entity_key":"k"}`,
	} {
		got, err := integration.DeleteBody("k", []byte(last))
		if err != nil || string(got) != want {
			t.Errorf("after %s: %s, %v; want %s", last, got, err, want)
		}
	}
}

// TestDeletionIsNotHeldAgainstTheSchema, but only one that a snapshot source made.
func TestDeletionIsNotHeldAgainstTheSchema(t *testing.T) {
	t.Parallel()
	text := `integration: stock
sources:
  - name: full
    file: {from: in, on_arrival: true, format: {csv: {}}, mode: snapshot}
  - name: part
    file: {from: other, on_arrival: true, format: {csv: {}}}
record: {entity_key: body.sku, schema: {type: object, required: [quantity]}}
process: {}
`
	path := filepath.Join(t.TempDir(), "stock.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := integration.Load(path, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	body, deletion := map[string]any{}, map[string]string{"op": "delete"}
	if p := in.ValidateRecord("full", deletion, body); len(p) != 0 {
		t.Errorf("a deletion: %v", p)
	}
	for source, headers := range map[string]map[string]string{"full": nil, "part": deletion, "none": deletion} {
		if p := in.ValidateRecord(source, headers, body); len(p) == 0 {
			t.Errorf("%s with %v is valid", source, headers)
		}
	}
	if !in.TracksEntities() {
		t.Error("entities are not tracked")
	}
}
