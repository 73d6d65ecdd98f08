package integration

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Schema is the JSON Schema (2020-12) of a record's body. Formats such as email
// and date-time are asserted. References stay within the schema ($defs): nothing
// is loaded from elsewhere.
type Schema struct {
	value    any // decoded schema
	compiled *jsonschema.Schema
}

func (s *Schema) fromNode(d *decoder, n *node, path string) {
	d.out.places[path] = n
	var err error
	switch n.kind {
	case objectNode:
		s.value, err = n.plain()
	case textNode:
		if d.schemas == nil {
			err = errors.New("the schema of a stored integration must be inlined")
		} else {
			s.value, err = d.schemas(n.text)
		}
	default:
		err = fmt.Errorf("this is %s; name a JSON file, or write the schema here", n.kind)
	}
	if err == nil {
		s.compiled, err = compileSchema(s.value, noLoader{})
	}
	if err != nil {
		d.wrong(path, "%v", err)
	}
}

func (s Schema) document() any { return s.value }

// noLoader refuses everything that is not part of the schema.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is outside the schema; move it into $defs", strings.TrimPrefix(url, schemaBase))
}

// schemaBase is the address of a schema without $id; nothing is fetched from it.
const schemaBase = "waybill:///"

func compileSchema(value any, loader jsonschema.URLLoader) (*jsonschema.Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseLoader(loader)
	if err := compiler.AddResource(schemaBase+"schema", value); err != nil {
		return nil, fmt.Errorf("the schema is not valid: %w", err)
	}
	compiled, err := compiler.Compile(schemaBase + "schema")
	if err == nil {
		return compiled, nil
	}
	var invalid *jsonschema.ValidationError
	var wrong *jsonschema.SchemaValidationError
	if errors.As(err, &wrong) && errors.As(wrong.Err, &invalid) {
		var problems []Problem
		leaves(invalid, &problems)
		if problems = inOrder(problems); len(problems) > 0 {
			return nil, fmt.Errorf("the schema is not a JSON Schema: at %q: %s", problems[0].Pointer, problems[0].Message)
		}
	}
	var load *jsonschema.LoadURLError
	if errors.As(err, &load) {
		return nil, fmt.Errorf("the schema cannot be used: %w", load.Err)
	}
	return nil, fmt.Errorf("the schema cannot be used: %s", strings.ReplaceAll(err.Error(), schemaBase, ""))
}

// properties are the only fields that a body can have by this schema, as far as
// that can be told from its top level; nil when it cannot.
func (s *Schema) properties() []string {
	top, ok := s.value.(map[string]any)
	if !ok {
		return nil
	}
	for _, open := range []string{"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas"} {
		if _, ok := top[open]; ok {
			return nil
		}
	}
	properties, _ := top["properties"].(map[string]any)
	return slices.Sorted(maps.Keys(properties))
}

// maxProblems bounds what is said about one record.
const maxProblems = 100

// validate gives every violation, sorted by pointer.
func (s *Schema) validate(body any) []Problem {
	err := s.compiled.Validate(body)
	if err == nil {
		return nil
	}
	var problems []Problem
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		leaves(invalid, &problems)
	}
	if len(problems) == 0 {
		problems = []Problem{{Code: CodeSchema, Message: "does not match the schema"}}
	}
	return inOrder(problems)
}

// inOrder sorts by pointer: the validator gives its causes in a map's order.
func inOrder(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(strings.Compare(a.Pointer, b.Pointer), strings.Compare(a.Message, b.Message))
	})
	return slices.Compact(problems)
}

// leaves collects the innermost causes: those are what a sender can mend. Of a
// failed choice (anyOf, oneOf, not) only the choice itself is told.
func leaves(e *jsonschema.ValidationError, out *[]Problem) {
	if len(*out) >= maxProblems {
		return
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf, *kind.Not:
	case *kind.Required:
		fieldProblems(e.InstanceLocation, k.Missing, "is missing", out)
		return
	case *kind.AdditionalProperties:
		// They come in a map's order; the same record must get the same answer.
		fieldProblems(e.InstanceLocation, slices.Sorted(slices.Values(k.Properties)), "is not a field of the schema", out)
		return
	default:
		if len(e.Causes) > 0 {
			for _, cause := range e.Causes {
				leaves(cause, out)
			}
			return
		}
	}
	*out = append(*out, Problem{pointer(e.InstanceLocation), CodeSchema, message(e.ErrorKind)})
}

// fieldProblems tells the same of fields of one object, within maxProblems.
func fieldProblems(location, names []string, message string, out *[]Problem) {
	names = names[:min(len(names), max(0, maxProblems-len(*out)))]
	for _, name := range names {
		*out = append(*out, Problem{pointer(append(slices.Clone(location), name)), CodeSchema, message})
	}
}

// maxPointer bounds a pointer, in bytes: its names are the sender's.
const maxPointer = 200

// pointer is a JSON pointer; one of more than maxPointer bytes is cut and ends with "…".
func pointer(location []string) string {
	var out strings.Builder
	for _, part := range location {
		// One byte more than fits shows that it was cut.
		out.WriteString("/" + escapePointer(part[:min(len(part), maxPointer+1)]))
		if out.Len() > maxPointer {
			const mark = "…"
			return strings.ToValidUTF8(out.String()[:maxPointer-len(mark)], "") + mark
		}
	}
	return out.String()
}

// pointerEscapes is made once: it is immutable, and costs more to make than to use.
var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func escapePointer(part string) string { return pointerEscapes.Replace(part) }

// message is our text for a violation: short, and without the value, which may be private.
func message(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.Type:
		return "must be " + strings.Join(k.Want, " or ") + ", is " + k.Got
	case *kind.Enum:
		return "must be one of " + values(k.Want)
	case *kind.Const:
		return "must be " + values([]any{k.Want})
	case *kind.Format:
		return "is not a valid " + k.Want
	case *kind.Pattern:
		return "must match " + k.Want
	case *kind.FalseSchema:
		return "is not allowed"
	case *kind.AnyOf:
		return "matches none of the allowed forms"
	case *kind.OneOf:
		return "must match exactly one of the allowed forms"
	case *kind.Not:
		return "has a form that is not allowed"
	case *kind.UniqueItems:
		return fmt.Sprintf("elements %d and %d are equal", k.Duplicates[0], k.Duplicates[1])
	case *kind.Contains, *kind.MinContains, *kind.MaxContains:
		return "does not contain the elements it must"
	case *kind.PropertyNames:
		return "has a field whose name is not allowed"
	case *kind.DependentRequired:
		return k.Prop + " also needs " + strings.Join(k.Missing, ", ")
	case *kind.Dependency:
		return k.Prop + " also needs " + strings.Join(k.Missing, ", ")
	}
	return bound(k)
}

func bound(k jsonschema.ErrorKind) string {
	switch k := k.(type) {
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters, has %d", k.Want, k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters, has %d", k.Want, k.Got)
	case *kind.Minimum:
		return "must be at least " + decimal(k.Want)
	case *kind.Maximum:
		return "must be at most " + decimal(k.Want)
	case *kind.ExclusiveMinimum:
		return "must be more than " + decimal(k.Want)
	case *kind.ExclusiveMaximum:
		return "must be less than " + decimal(k.Want)
	case *kind.MultipleOf:
		return "must be a multiple of " + decimal(k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("must have at least %d elements, has %d", k.Want, k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d elements, has %d", k.Want, k.Got)
	case *kind.MinProperties:
		return fmt.Sprintf("must have at least %d fields, has %d", k.Want, k.Got)
	case *kind.MaxProperties:
		return fmt.Sprintf("must have at most %d fields, has %d", k.Want, k.Got)
	case *kind.AdditionalItems:
		return fmt.Sprintf("has %d elements too many", k.Count)
	}
	return "does not match the schema"
}

func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.RatString()
	}
	return strings.TrimRight(r.FloatString(12), "0")
}

func values(list []any) string {
	texts := make([]string, 0, len(list))
	for i, v := range list {
		if i == 10 {
			texts = append(texts, "…")
			break
		}
		text, err := canonical(v)
		if err != nil {
			text = []byte("a value")
		}
		texts = append(texts, shorten(string(text)))
	}
	return strings.Join(texts, ", ")
}
