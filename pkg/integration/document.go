package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"
)

type documented interface{ document() any }

// documentOf gives the value of a type of spec.go with every default written
// out, so that a later release with other defaults changes no stored version.
// Absent optional values are left out.
func documentOf(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		return documentOf(v.Elem())
	}
	switch own := v.Interface().(type) {
	case documented:
		return own.document()
	case time.Duration:
		return own.String()
	}
	switch v.Kind() {
	case reflect.Struct:
		return documentOfStruct(v)
	case reflect.Slice:
		if v.Len() == 0 {
			return nil
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i] = documentOf(v.Index(i))
		}
		return out
	case reflect.Map:
		if v.Len() == 0 {
			return nil
		}
		if settings, ok := v.Interface().(map[string]any); ok {
			return settings
		}
		out := map[string]any{}
		for _, key := range v.MapKeys() {
			out[key.String()] = documentOf(v.MapIndex(key))
		}
		return out
	case reflect.String:
		return orNil(v.String())
	}
	return v.Interface()
}

func documentOfStruct(v reflect.Value) any {
	out := map[string]any{}
	for i := range v.NumField() {
		r, ok := rulesOf(v.Type().Field(i))
		if !ok || v.Field(i).IsZero() && r.fallback == "" {
			continue
		}
		if value := documentOf(v.Field(i)); value != nil {
			out[r.name] = value
		}
	}
	return out
}

// canonical is JSON with sorted keys and no spaces.
func canonical(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("encode the document: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func (in *Integration) seal() error {
	document, err := canonical(documentOf(reflect.ValueOf(*in)))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(document)
	in.document, in.hash = document, hex.EncodeToString(sum[:])
	return nil
}

// Document is the whole integration as canonical JSON: defaults written out,
// variables replaced, the schema inlined, secrets only as references.
func (in *Integration) Document() []byte { return slices.Clone(in.document) }

// Hash is the SHA-256 of Document in lower-case hexadecimal: the version of the integration.
func (in *Integration) Hash() string { return in.hash }

// File is the path the integration was loaded from; empty for FromDocument.
func (in *Integration) File() string { return in.file }
