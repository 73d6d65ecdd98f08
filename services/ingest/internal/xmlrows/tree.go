package xmlrows

import (
	"bytes"

	"waybill.internal/pkg/integration"
)

// tree is one record. Its memory is used again for the next one.
type tree struct {
	nodes []node
	attrs []attr
	texts []byte // values of attributes
	at    int    // the open element; -1: none
	size  int    // bytes of text
}

// node is an element.
type node struct {
	name             string
	line             int
	parent           int
	child, last      int // the first and last child; -1: none
	sibling          int // the next one; -1: none
	attrs, attrsDone int
	text             []byte
}

type attr struct {
	key      string
	from, to int // in texts
}

// keptText is how much room for one element's text is kept for the next record.
const keptText = 4 << 10

func (t *tree) reset() {
	for i := range t.nodes {
		if cap(t.nodes[i].text) > keptText {
			t.nodes[i].text = nil
		}
	}
	if cap(t.nodes) > maxNodes/10 {
		t.nodes, t.attrs, t.texts = nil, nil, nil
	}
	t.nodes, t.attrs, t.texts, t.at, t.size = t.nodes[:0], t.attrs[:0], t.texts[:0], -1, 0
}

// down opens an element in the one at hand.
func (t *tree) down(name string, line int) int {
	i := len(t.nodes)
	if cap(t.nodes) > i {
		t.nodes = t.nodes[:i+1]
	} else {
		t.nodes = append(t.nodes, node{})
	}
	t.nodes[i] = node{name: name, line: line, parent: t.at, child: -1, last: -1, sibling: -1,
		attrs: len(t.attrs), attrsDone: len(t.attrs), text: t.nodes[i].text[:0]}
	if t.at >= 0 {
		p := &t.nodes[t.at]
		if p.last < 0 {
			p.child = i
		} else {
			t.nodes[p.last].sibling = i
		}
		p.last = i
	}
	t.at = i
	return i
}

func (t *tree) up() { t.at = t.nodes[t.at].parent }

func (t *tree) addText(p []byte) {
	n := &t.nodes[t.at]
	n.text = append(n.text, p...)
	t.size += len(p)
}

func (t *tree) addAttr(key string, value []byte) {
	from := len(t.texts)
	t.texts = append(t.texts, value...)
	t.attrs = append(t.attrs, attr{key: key, from: from, to: len(t.texts)})
	t.nodes[t.at].attrsDone = len(t.attrs)
	t.size += len(value)
}

// writer writes a record as JSON and as the value of that JSON at once.
type writer struct {
	tree    *tree
	out     []byte
	tooDeep bool
}

// element gives a text if there is nothing else.
func (w *writer) element(i, depth int) any {
	n := &w.tree.nodes[i]
	if n.child < 0 && n.attrs == n.attrsDone {
		return w.text(n.text)
	}
	return w.object(i, depth, false)
}

func (w *writer) object(i, depth int, isRecord bool) any {
	if depth > integration.MaxDepth {
		w.tooDeep = true
		return nil
	}
	n := &w.tree.nodes[i]
	value := map[string]any{}
	w.out = append(w.out, '{')
	w.attributes(w.tree.attrs[n.attrs:n.attrsDone], depth, value)
	text := n.text
	if n.child >= 0 {
		text = bytes.TrimSpace(text)
	}
	if len(text) > 0 {
		w.key("#text", len(value))
		value["#text"] = w.text(text)
	}
	w.children(n.child, depth, value)
	w.out = append(w.out, '}')
	return value
}

func (w *writer) attributes(attrs []attr, depth int, value map[string]any) {
	for i, a := range attrs {
		if _, done := value[a.key]; done {
			continue
		}
		w.key(a.key, len(value))
		var same []any
		begin := len(w.out)
		for _, other := range attrs[i:] {
			if other.key == a.key {
				if len(same) > 0 {
					w.out = append(w.out, ',')
				}
				same = append(same, w.text(w.tree.texts[other.from:other.to]))
			}
		}
		value[a.key] = w.list(begin, same, depth)
	}
}

// list makes a list of several values that were written from begin on.
func (w *writer) list(begin int, values []any, depth int) any {
	if len(values) == 1 {
		return values[0]
	}
	if depth+1 > integration.MaxDepth {
		w.tooDeep = true
	}
	w.out = append(w.out, ' ')
	copy(w.out[begin+1:], w.out[begin:])
	w.out[begin] = '['
	w.out = append(w.out, ']')
	return values
}

// children writes elements by their names.
func (w *writer) children(first, depth int, value map[string]any) {
	groups := map[string][]int(nil)
	if first >= 0 && w.tree.nodes[first].sibling >= 0 {
		groups = map[string][]int{}
		for i := first; i >= 0; i = w.tree.nodes[i].sibling {
			name := w.tree.nodes[i].name
			groups[name] = append(groups[name], i)
		}
	}
	for i := first; i >= 0 && !w.tooDeep; i = w.tree.nodes[i].sibling {
		name := w.tree.nodes[i].name
		if _, done := value[name]; done {
			continue
		}
		w.key(name, len(value))
		same := groups[name]
		if len(same) < 2 {
			value[name] = w.element(i, depth+1)
			continue
		}
		w.out = append(w.out, '[')
		list := make([]any, len(same))
		for j, k := range same {
			if j > 0 {
				w.out = append(w.out, ',')
			}
			list[j] = w.element(k, depth+2)
		}
		if depth+1 > integration.MaxDepth {
			w.tooDeep = true
		}
		w.out = append(w.out, ']')
		value[name] = list
	}
}

func (w *writer) key(name string, before int) {
	if before > 0 {
		w.out = append(w.out, ',')
	}
	w.quote(name)
	w.out = append(w.out, ':')
}

func (w *writer) text(p []byte) any {
	s := string(p)
	w.quote(s)
	return s
}

// quote writes a JSON string. Of what JSON escapes, XML allows but these.
func (w *writer) quote(s string) {
	w.out = append(w.out, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		var escaped byte
		switch s[i] {
		case '"', '\\':
			escaped = s[i]
		case '\n':
			escaped = 'n'
		case '\r':
			escaped = 'r'
		case '\t':
			escaped = 't'
		default:
			continue
		}
		w.out = append(append(w.out, s[from:i]...), '\\', escaped)
		from = i + 1
	}
	w.out = append(append(w.out, s[from:]...), '"')
}
