package integration

import (
	"crypto/sha256"
	"maps"
	"math"
	"strconv"
	"strings"
)

// The header of a record that says that an entity disappeared from a snapshot,
// and the fields that its body then has beside those of the last version.
const (
	HeaderOperation = "op"
	OperationDelete = "delete"
	FieldDeleted    = "deleted"
	FieldEntityKey  = "entity_key"
)

// Ordered tells whether rows are compared with the latest accepted version of
// their entity, so that the order of files matters.
func (f *File) Ordered() bool { return f.Mode == "snapshot" || f.Unchanged == "skip" }

// TracksEntities tells whether the latest accepted version of each entity is kept,
// whichever source it came from.
func (in *Integration) TracksEntities() bool {
	for i := range in.Sources {
		if f := in.Sources[i].File; f != nil && f.Ordered() {
			return true
		}
	}
	return false
}

// ContentHash is the identity of a decoded body, however it was written: the order
// of keys and blanks do not count.
func ContentHash(body any) ([32]byte, error) {
	b, err := canonical(body)
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(b), nil
}

// ValidateRecord is Validate for a record that was accepted before. A deletion, which
// only a snapshot source makes, says nothing but what disappeared and is not held against the schema.
func (in *Integration) ValidateRecord(source string, headers map[string]string, body any) []Problem {
	if headers[HeaderOperation] == OperationDelete {
		for i := range in.Sources {
			if f := in.Sources[i].File; f != nil && in.Sources[i].Name == source && f.Mode == "snapshot" {
				return nil
			}
		}
	}
	return in.Validate(body)
}

// DeleteBody is the body of the record that says that an entity disappeared: the
// fields of its last version if that was an object and is known, with deleted: true
// and entity_key.
func DeleteBody(entityKey string, last []byte) ([]byte, error) {
	body := map[string]any{}
	if value, err := DecodeJSON(last); err == nil {
		if fields, ok := value.(map[string]any); ok {
			maps.Copy(body, fields)
		}
	}
	body[FieldDeleted], body[FieldEntityKey] = true, entityKey
	return canonical(body)
}

// DeleteLimit is how many of the known entities one snapshot may delete.
func (s *Snapshot) DeleteLimit(known int64) int64 {
	text := "10%"
	if s != nil {
		text = fallback(s.MaxDeletes, text)
	}
	number, isShare := strings.CutSuffix(text, "%")
	if !isShare {
		n, _ := strconv.ParseInt(number, 10, 64) // build has checked it
		return n
	}
	share, _ := strconv.ParseFloat(number, 64)
	return int64(math.Floor(float64(known) * share / 100))
}

func validDeleteLimit(text string) bool {
	if number, isShare := strings.CutSuffix(text, "%"); isShare {
		share, err := strconv.ParseFloat(number, 64)
		return err == nil && share >= 0 && share <= 100
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return err == nil && n >= 0
}
