package watch

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// MaxNames bounds the fields that are remembered of one source.
const MaxNames = 200

// other stands for a key that does not look like the name of a field.
const other = "*"

// kinds is a set of JSON types.
type kinds uint8

func kindNames() []string { return []string{"null", "boolean", "number", "string", "object", "array"} }

func kindOf(value any) kinds {
	switch value.(type) {
	case nil:
		return 1 << 0
	case bool:
		return 1 << 1
	case string:
		return 1 << 3
	case map[string]any:
		return 1 << 4
	case []any:
		return 1 << 5
	}
	return 1 << 2 // however numbers are decoded
}

// String is the types' names, such as "null or string".
func (k kinds) String() string {
	var list []string
	for i, name := range kindNames() {
		if k&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, " or ")
}

// MarshalText writes the names, for the ledger.
func (k kinds) MarshalText() ([]byte, error) {
	return []byte(strings.ReplaceAll(k.String(), " or ", "|")), nil
}

// UnmarshalText reads them; an unknown one is passed over.
func (k *kinds) UnmarshalText(text []byte) error {
	for _, name := range strings.Split(string(text), "|") {
		if i := slices.Index(kindNames(), name); i >= 0 {
			*k |= 1 << i
		}
	}
	return nil
}

// field is how often a name was there, and with which types.
type field struct {
	Seen  int   `json:"seen"`
	Kinds kinds `json:"types"`
}

// profile is which fields some bodies had.
type profile struct {
	Bodies int              `json:"bodies"`
	Names  map[string]field `json:"names,omitempty"`
}

// fieldName is what a name looks like; an e-mail address, a number or an id does not.
func fieldName() *regexp.Regexp {
	return regexp.MustCompile(`^[@$]?[\p{L}_][\p{L}\p{M}0-9_:. -]{0,63}$`)
}

// namer tells names from data; made once, since it compiles an expression.
type namer struct{ pattern *regexp.Regexp }

func newNamer() namer { return namer{fieldName()} }

func (n namer) name(key string) string {
	digits := 0
	for i := range len(key) {
		if key[i] >= '0' && key[i] <= '9' {
			digits++
		}
	}
	if !n.pattern.MatchString(key) || digits > 6 { // so many digits are a number of something
		return other
	}
	return key
}

// add notes the fields of a body, two levels deep; a body that is no object has none.
func (p *profile) add(body any, n namer) {
	p.Bodies++
	object, ok := body.(map[string]any)
	if !ok {
		return
	}
	seen := make(map[string]kinds, len(object)) // a name counts once a body, however often * stands for one
	for key, value := range object {
		if len(seen) >= MaxNames {
			break
		}
		name := n.name(key)
		seen[name] |= kindOf(value)
		within, prefix := value, name+"."
		if list, isList := value.([]any); isList && len(list) > 0 {
			within, prefix = list[0], name+"[]."
		}
		inner, ok := within.(map[string]any)
		if !ok {
			continue
		}
		for key, value := range inner {
			if len(seen) >= MaxNames {
				break
			}
			seen[prefix+n.name(key)] |= kindOf(value)
		}
	}
	for name, k := range seen {
		p.note(name, field{1, k})
	}
}

func (p *profile) note(name string, f field) {
	known, ok := p.Names[name]
	if !ok && len(p.Names) >= MaxNames {
		return
	}
	if p.Names == nil {
		p.Names = map[string]field{}
	}
	p.Names[name] = field{known.Seen + f.Seen, known.Kinds | f.Kinds}
}

// merge adds what another profile saw, in the order of names, so that what the
// bound leaves out is the same every time.
func (p *profile) merge(o profile) {
	p.Bodies += o.Bodies
	for _, name := range slices.Sorted(maps.Keys(o.Names)) {
		p.note(name, o.Names[name])
	}
}

// fade halves everything once there is more than most; a name that fades to
// nothing goes.
func (p *profile) fade(most int) {
	if p.Bodies <= most {
		return
	}
	p.Bodies /= 2
	for name, f := range p.Names {
		if f.Seen /= 2; f.Seen == 0 {
			delete(p.Names, name)
		} else {
			p.Names[name] = f
		}
	}
}

func (p profile) share(name string) float64 {
	if p.Bodies == 0 {
		return 0
	}
	return float64(p.Names[name].Seen) / float64(p.Bodies)
}

// difference says in what the fields of some bodies differ from the usual ones.
type difference struct{ Added, Missing, Retyped []string }

const (
	// often is the share of bodies from which on a name belongs to a format.
	often = 0.2
	// rarely is the share up to which a name of the usual bodies is as good as none.
	rarely = 0.01
)

func differ(usual, now profile) (d difference) {
	for _, name := range slices.Sorted(maps.Keys(now.Names)) {
		f := now.Names[name]
		switch {
		case now.share(name) < often:
		case usual.share(name) <= rarely:
			d.Added = append(d.Added, name+" ("+f.Kinds.String()+")")
		case f.Kinds&^usual.Names[name].Kinds != 0:
			d.Retyped = append(d.Retyped, name+" ("+usual.Names[name].Kinds.String()+", now "+f.Kinds.String()+")")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(usual.Names)) {
		if usual.share(name) >= often && now.share(name) < usual.share(name)/2 {
			d.Missing = append(d.Missing, name+" ("+usual.Names[name].Kinds.String()+")")
		}
	}
	return d
}

// fields is what the ledger keeps of a source's fields.
type fields struct {
	Usual profile `json:"usual"` // of bodies that were right
	Now   recent  `json:"now"`   // of those rejected lately, in two parts of at most half the window
	Last  recent  `json:"last"`
}

// recent is of rejected bodies.
type recent struct {
	Since   int64          `json:"since"` // Unix time, seconds
	Fields  profile        `json:"fields"`
	Reasons map[string]int `json:"reasons,omitempty"` // pointer and code
}

const (
	// maxReasons bounds the reasons remembered of one source.
	maxReasons = 50
	// maxBodies is what the usual profile weighs at most, in bodies.
	maxBodies = 5000
)

func (r *recent) because(reason string, n int) {
	if _, known := r.Reasons[reason]; !known && len(r.Reasons) >= maxReasons {
		return
	}
	if r.Reasons == nil {
		r.Reasons = map[string]int{}
	}
	r.Reasons[reason] += n
}

func (r *recent) merge(o recent) {
	r.Fields.merge(o.Fields)
	for _, reason := range slices.Sorted(maps.Keys(o.Reasons)) {
		r.because(reason, o.Reasons[reason])
	}
}

// readFields reads what the ledger keeps; what cannot be read is begun anew.
func readFields(kept []byte) (f fields) {
	if json.Unmarshal(kept, &f) != nil {
		return fields{}
	}
	return f
}

// add merges what one process saw until now, in seconds, into what is kept.
func (f fields) add(seen fields, now, window int64) []byte {
	f.Usual.merge(seen.Usual)
	f.Usual.fade(maxBodies)
	switch age := now - f.Now.Since; {
	case age >= window:
		f.Now, f.Last = recent{Since: now}, recent{}
	case age >= window/2:
		f.Now, f.Last = recent{Since: now}, f.Now
	}
	f.Now.merge(seen.Now)
	out, err := json.Marshal(f)
	if err != nil { // our own types: cannot be
		return nil
	}
	return out
}

// rejected are the bodies rejected within the window before now.
func (f fields) rejected(now, window int64) recent {
	var r recent
	for _, part := range []recent{f.Last, f.Now} {
		if now-part.Since < 2*window {
			r.merge(part)
		}
	}
	return r
}

// top gives the most frequent reasons, at most n.
func (r recent) top(n int) []string {
	names := slices.SortedFunc(maps.Keys(r.Reasons), func(a, b string) int {
		if d := r.Reasons[b] - r.Reasons[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return names[:min(n, len(names))]
}
