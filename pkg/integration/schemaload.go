package integration

// CompileSchema compiles a JSON Schema (2020-12) as record.schema does, except that
// references to other addresses are asked of load; nil refuses them all. The value
// is as DecodeJSON gives it.
func CompileSchema(value any, load func(url string) (any, error)) (*Schema, error) {
	s := &Schema{value: value}
	var err error
	if load == nil {
		s.compiled, err = compileSchema(value, noLoader{})
	} else {
		s.compiled, err = compileSchema(value, loaderFunc(load))
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

type loaderFunc func(url string) (any, error)

func (f loaderFunc) Load(url string) (any, error) { return f(url) }

// Validate gives every violation of a body, sorted by pointer, at most 100.
func (s *Schema) Validate(body any) []Problem { return s.validate(body) }
