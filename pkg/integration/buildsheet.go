package integration

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// XMLStep is one element on the way to a record.
type XMLStep struct {
	Space string // the namespace's URI; "" with Any
	Any   bool   // any namespace fits
	Local string
}

// Fits tells whether an element is the step's.
func (s XMLStep) Fits(space, local string) bool {
	return s.Local == local && (s.Any || s.Space == space)
}

// Steps gives the way to the record: from the root if rooted, else one element
// that may be anywhere. No steps: the children of the root. The error says what
// to write instead.
func (x *XML) Steps() (steps []XMLStep, rooted bool, err error) {
	if x.Record == "" {
		return nil, true, nil
	}
	rest, rooted := strings.CutPrefix(x.Record, "/")
	for text := range strings.SplitSeq(rest, "/") {
		step := XMLStep{Any: true, Local: text}
		if prefix, local, ok := strings.Cut(text, ":"); ok {
			space, known := x.Namespaces[prefix]
			if !known {
				return nil, false, fmt.Errorf("the prefix %q is not known; add it to namespaces with the URI that stands behind xmlns:… in the file", shorten(prefix))
			}
			step = XMLStep{Space: space, Local: local}
		}
		if step.Local == "" || strings.ContainsFunc(step.Local, notInXMLName) {
			return nil, false, fmt.Errorf("%q is no element; write a name such as Order, or a path from the root such as /Orders/Order", shorten(x.Record))
		}
		steps = append(steps, step)
	}
	if !rooted && len(steps) > 1 {
		return nil, false, fmt.Errorf("%q does not say where it begins; write the path from the root, /%s", shorten(x.Record), shorten(x.Record))
	}
	return steps, rooted, nil
}

// notInXMLName is for mistakes that people make: XPath, blanks, patterns.
func notInXMLName(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("*@[](){}<>&'\"=,;|!?+$%:\\", r)
}

func (b *builder) xml(x *XML, at string) {
	for prefix, uri := range x.Namespaces {
		here := join(join(at, "namespaces"), prefix)
		switch {
		case prefix == "" || prefix == "xmlns" || strings.ContainsFunc(prefix, notInXMLName):
			b.wrong(here, "%q is no prefix; write a short name such as inv", shorten(prefix))
		case strings.TrimSpace(uri) != uri || uri == "":
			b.wrong(here, "the namespace of %q is missing or has blanks around it; write its URI as the file does", shorten(prefix))
		}
	}
	if _, _, err := x.Steps(); err != nil {
		b.wrong(join(at, "record"), "%v", err)
	}
	if x.MaxDepth > 0 {
		if steps, rooted, err := x.Steps(); err == nil && rooted && len(steps) > x.MaxDepth {
			b.wrong(join(at, "max_depth"), "the path in record is deeper than %d; raise it", x.MaxDepth)
		}
	}
}

// CheckColumns says what is wrong with names of columns and which it is; -1 if
// nothing is.
func CheckColumns(names []string) (int, error) {
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		switch {
		case name == "":
			return i, errors.New("a column has no name; write one")
		case strings.TrimSpace(name) != name || strings.IndexFunc(name, unicode.IsControl) >= 0:
			return i, fmt.Errorf("%q is no name of a column; leave out blanks around it and control characters", shorten(name))
		case seen[name]:
			return i, fmt.Errorf("%q is given twice; write another name", shorten(name))
		}
		seen[name] = true
	}
	return -1, nil
}

func (b *builder) sheet(s *Sheet, at string) {
	if strings.TrimSpace(s.Sheet) != s.Sheet {
		b.wrong(join(at, "sheet"), "%q has blanks around it; write the sheet's name, or its number from 1", shorten(s.Sheet))
	}
	if s.Sheet != "" && strings.Trim(s.Sheet, "0") == "" {
		b.wrong(join(at, "sheet"), "sheets are counted from 1; write 1 for the first")
	}
	if i, err := CheckColumns(s.Columns); err != nil {
		b.wrong(index(join(at, "columns"), i), "%v", err)
	}
}
