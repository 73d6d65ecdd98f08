package integration

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/invopop/jsonschema"
)

// Forms of texts, for editors; the parser checks more closely.
const (
	durationForm  = `^([0-9]+d|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`
	secretForm    = `^\$\{[A-Za-z_][A-Za-z0-9_]*\}$`
	rateForm      = `^[1-9][0-9]*/(s|m|h)$`
	cadenceForm   = `^\s*(\S+(\s+\S+){4}|([0-9]+d|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+))\s*$`
	scheduleForm  = `^\s*\S+(\s+\S+){4}\s*$`
	resumeForm    = `^(probe|\s*\S+(\s+\S+){4}\s*)$`
	bytesForm     = `^[0-9]+(KiB|MiB)?$`
	pathForm      = `^/`
	schemaVersion = "https://json-schema.org/draft/2020-12/schema"
)

// ConfigSchema is the JSON Schema of an integration file, for editors: it knows
// every key, type, bound and default. The parser is stricter: it also checks
// expressions, names across keys, addresses and secrets.
func ConfigSchema() ([]byte, error) {
	reflector := jsonschema.Reflector{Anonymous: true, ExpandedStruct: true, Mapper: mapped, IgnoredTypes: nil}
	root := reflector.Reflect(&Integration{})
	refine(root, reflect.TypeFor[Integration]())
	for name, definition := range root.Definitions {
		if t, ok := structTypes(reflect.TypeFor[Integration](), map[string]reflect.Type{})[name]; ok {
			refine(definition, t)
		}
	}
	root.Definitions["Field"] = fieldSchema()
	root.Version, root.Title = schemaVersion, "Waybill integration"
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the schema of integration files: %w", err)
	}
	return append(out, '\n'), nil
}

// structTypes finds every struct below t by its name.
func structTypes(t reflect.Type, found map[string]reflect.Type) map[string]reflect.Type {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return structTypes(t.Elem(), found)
	case reflect.Struct:
		if found[t.Name()] == nil && strings.HasSuffix(t.PkgPath(), "/integration") {
			found[t.Name()] = t
			for i := range t.NumField() {
				structTypes(t.Field(i).Type, found)
			}
		}
	}
	return found
}

// mapped gives the schemas of the types that are not what Go says they are.
func mapped(t reflect.Type) *jsonschema.Schema {
	texts := map[reflect.Type]string{
		reflect.TypeFor[time.Duration](): durationForm, reflect.TypeFor[Secret](): secretForm, reflect.TypeFor[Rate](): rateForm,
		reflect.TypeFor[Expectation](): cadenceForm, reflect.TypeFor[Cadence](): cadenceForm,
		reflect.TypeFor[Schedule](): scheduleForm, reflect.TypeFor[Resume](): resumeForm, reflect.TypeFor[Path](): pathForm,
	}
	if form, ok := texts[t]; ok {
		return &jsonschema.Schema{Type: "string", Pattern: form}
	}
	one := uint64(1)
	switch t {
	case reflect.TypeFor[Bytes]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "integer", Minimum: "0"}, {Type: "string", Pattern: bytesForm}}}
	case reflect.TypeFor[Expr]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string", MinLength: &one}, {Type: "number"}, {Type: "boolean"}}}
	case reflect.TypeFor[Page]():
		return &jsonschema.Schema{Type: "string", MinLength: &one}
	case reflect.TypeFor[Schema]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{{Type: "string", MinLength: &one}, {Type: "object"}}}
	case reflect.TypeFor[Field]():
		return &jsonschema.Schema{Ref: "#/$defs/Field"}
	case reflect.TypeFor[Map]():
		return &jsonschema.Schema{Type: "object", MinProperties: &one, PropertyNames: namesLike("ident"),
			AdditionalProperties: &jsonschema.Schema{Ref: "#/$defs/Field"}}
	}
	return nil
}

func fieldSchema() *jsonschema.Schema {
	again := &jsonschema.Schema{Ref: "#/$defs/Field"}
	return &jsonschema.Schema{Description: "An expression, or a map or list of them.", OneOf: []*jsonschema.Schema{
		{Type: "string"}, {Type: "number"}, {Type: "boolean"}, {Type: "null"},
		{Type: "array", Items: again}, {Type: "object", AdditionalProperties: again}}}
}

func namesLike(name string) *jsonschema.Schema {
	return &jsonschema.Schema{Pattern: patterns()[name].form.String()}
}

// refine writes what the tags say into the schema that reflection made.
func refine(s *jsonschema.Schema, t reflect.Type) {
	s.Required = nil
	for i := range t.NumField() {
		f := t.Field(i)
		r, ok := rulesOf(f)
		if !ok {
			continue
		}
		property, ok := s.Properties.Get(r.name)
		if !ok {
			continue
		}
		if r.required {
			s.Required = append(s.Required, r.name)
		}
		property.Description = r.doc
		bounds(property, r, f.Type)
	}
	exclusive := map[reflect.Type]bool{reflect.TypeFor[Step](): true, reflect.TypeFor[Auth](): true, reflect.TypeFor[Format](): true}
	if one := uint64(1); exclusive[t] {
		s.MinProperties, s.MaxProperties = &one, &one
	}
	if t == reflect.TypeFor[Source]() {
		s.OneOf = []*jsonschema.Schema{{Required: []string{"webhook"}}, {Required: []string{"file"}}}
	}
}

func bounds(s *jsonschema.Schema, r rules, t reflect.Type) {
	s.Default, s.Minimum, s.Maximum, s.Enum = defaultOf(r, t), json.Number(r.minimum), json.Number(r.maximum), nil
	one, most := uint64(1), uint64(max(r.items, 0))
	element := s
	switch t.Kind() {
	case reflect.Slice:
		s.MinItems, s.MaxItems, s.UniqueItems = &one, &most, len(r.enum) > 0
		element = s.Items
	case reflect.Map:
		if t != reflect.TypeFor[map[string]any]() {
			s.MinProperties, s.MaxProperties = &one, &most
		}
	case reflect.String:
		s.MinLength = &one
	}
	if r.keys != "" {
		s.PropertyNames = namesLike(r.keys)
	}
	if r.pattern != "" {
		element.Pattern = patterns()[r.pattern].form.String()
	}
	for _, word := range r.enum {
		element.Enum = append(element.Enum, word)
	}
	if r.min != "" {
		s.Description += fmt.Sprintf(" From %s to %s.", r.min, r.max)
	}
}

func defaultOf(r rules, t reflect.Type) any {
	if len(r.list) > 0 {
		return r.list
	}
	if r.fallback == "" {
		return nil
	}
	switch t.Kind() {
	case reflect.Int:
		n, _ := strconv.Atoi(r.fallback)
		return n
	case reflect.Bool:
		return r.fallback == "true"
	}
	return r.fallback
}
