package poll

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"waybill.internal/pkg/fault"
	"waybill.internal/pkg/integration"
)

const (
	// maxCursor and maxURL bound what is kept of a place, in bytes.
	maxCursor = 4 << 10
	maxURL    = 8 << 10
	// maxItems bounds the items of one page: small ones take far more memory as
	// records than in the answer.
	maxItems = 50_000
)

// page is one answer, taken apart.
type page struct {
	items []json.RawMessage
	sum   [sha256.Size]byte // of the items, byte for byte
	next  place
	last  bool // there is no next one
}

func badPage(format string, args ...any) error {
	return fault.New(fault.System, "bad_page", "the page cannot be used: "+format, args...)
}

// readPage finds the items and the place of the next page.
func readPage(config *integration.Poll, from place, header http.Header, body []byte) (page, error) {
	if !json.Valid(body) {
		return page{}, badPage("it is no JSON, or was cut off (%d bytes)", len(body))
	}
	list, ok := find(body, config.Items)
	if !ok {
		return page{}, badPage("there is nothing at %s", config.Items)
	}
	var p page
	if len(list) == 0 || list[0] != '[' {
		return page{}, badPage("what is at %q is no list; see items", config.Items)
	}
	err := each(list, func(_ string, value json.RawMessage) bool {
		p.items = append(p.items, value)
		return len(p.items) <= maxItems
	})
	if err != nil {
		return page{}, badPage("the list at %q cannot be read: %v", config.Items, err)
	}
	if len(p.items) > maxItems {
		return page{}, badPage("it has more than %d items; ask for smaller pages, see query", maxItems)
	}
	p.sum = sha256.Sum256(list)
	more := true
	if config.Next.More != "" {
		raw, _ := find(body, config.Next.More)
		if err := json.Unmarshal(raw, &more); err != nil || raw == nil {
			return page{}, badPage("what is at %s is neither true nor false; see next.more", config.Next.More)
		}
	}
	if !more {
		p.last = true
		return p, nil
	}
	err = p.findNext(config, from, header, body)
	return p, err
}

func (p *page) findNext(config *integration.Poll, from place, header http.Header, body []byte) error {
	n := config.Next
	switch {
	case n.Cursor != "":
		raw, _ := find(body, n.Cursor)
		return p.cursor(raw, false)
	case n.CursorFrom != "" && len(p.items) > 0:
		raw, _ := find(p.items[len(p.items)-1], n.CursorFrom)
		return p.cursor(raw, true)
	case n.CursorFrom != "" && n.More != "":
		return badPage("it says that there is more, and has no item to go on behind")
	case n.Page && len(p.items) > 0:
		p.next = place{Page: from.Page + 1}
	case n.Offset && len(p.items) > 0:
		p.next = place{Offset: from.Offset + len(p.items)}
	case n.Link:
		return p.address(config, nextLink(header))
	case n.URL != "":
		raw, _ := find(body, n.URL)
		var text *string
		if raw != nil && json.Unmarshal(raw, &text) != nil {
			return badPage("what is at %s is no address; see next.url", n.URL)
		}
		if text == nil {
			text = new(string)
		}
		return p.address(config, *text)
	}
	p.last = p.next == place{}
	return nil
}

func (p *page) cursor(raw json.RawMessage, needed bool) error {
	var text string
	switch {
	case raw == nil || string(raw) == "null":
	case raw[0] == '"':
		if err := json.Unmarshal(raw, &text); err != nil {
			return badPage("the cursor cannot be read")
		}
	case raw[0] == '{' || raw[0] == '[' || raw[0] == 't' || raw[0] == 'f':
		return badPage("the cursor is neither a text nor a number")
	default:
		text = string(raw)
	}
	if len(text) > maxCursor {
		return badPage("the cursor has %d bytes, at most %d are taken", len(text), maxCursor)
	}
	if text == "" && needed {
		return badPage("its last item has no cursor; see next.cursor_from")
	}
	p.next, p.last = place{Cursor: text}, text == ""
	return nil
}

func (p *page) address(config *integration.Poll, text string) error {
	if text == "" {
		p.last = true
		return nil
	}
	if len(text) > maxURL {
		return badPage("the address of the next page has %d bytes, at most %d are taken", len(text), maxURL)
	}
	rendered, err := config.NextRequest(text)
	if err != nil {
		return fault.Wrap(err, fault.Data, "next_page", "%v", err)
	}
	p.next = place{URL: rendered.URL}
	return nil
}

// nextLink is the address with rel=next in the headers Link (RFC 8288), "" if there is none.
func nextLink(header http.Header) string {
	for _, value := range header.Values("Link") {
		_, links, _ := strings.Cut(value, "<")
		for links != "" {
			target, rest, ok := strings.Cut(links, ">")
			if !ok {
				break
			}
			// The parameters reach to the next link; a comma within quotes does no harm to rel.
			var parameters string
			if parameters, links, _ = strings.Cut(rest, "<"); isNext(parameters) {
				return target
			}
		}
	}
	return ""
}

func isNext(parameters string) bool {
	for parameter := range strings.SplitSeq(strings.TrimRight(parameters, ", "), ";") {
		name, value, _ := strings.Cut(parameter, "=")
		if strings.EqualFold(strings.TrimSpace(name), "rel") {
			for rel := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
				if strings.EqualFold(rel, "next") {
					return true
				}
			}
		}
	}
	return false
}

// find gives the raw value at a JSON pointer; false when there is none.
func find(raw json.RawMessage, pointer string) (json.RawMessage, bool) {
	for _, token := range tokens(pointer) {
		raw = bytes.TrimSpace(raw)
		if len(raw) == 0 {
			return nil, false
		}
		if raw = child(raw, token); raw == nil {
			return nil, false
		}
	}
	return bytes.TrimSpace(raw), true
}

// child is the value of a key, or of a place in a list; nil when there is none. Of
// a key that is repeated it is the last.
func child(raw json.RawMessage, token string) (found json.RawMessage) {
	wanted := func(key string, _ int) bool { return key == token }
	if raw[0] == '[' {
		at, err := strconv.Atoi(token)
		if err != nil {
			return nil
		}
		wanted = func(_ string, i int) bool { return i == at }
	}
	i := 0
	if err := each(raw, func(key string, value json.RawMessage) bool {
		if wanted(key, i) {
			found = value
		}
		i++
		return true
	}); err != nil {
		return nil
	}
	return found
}

// each gives the values of an object, with their keys, or of a list, until tell says
// no. It holds one value at a time, however many there are; other values have none.
func each(raw json.RawMessage, tell func(key string, value json.RawMessage) bool) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	begin, err := d.Token()
	if err != nil || begin != json.Delim('{') && begin != json.Delim('[') {
		return err
	}
	var value json.RawMessage // its memory is used again and again; what is told is a part of raw
	for d.More() {
		key := ""
		if begin == json.Delim('{') {
			token, err := d.Token()
			if err != nil {
				return err
			}
			key, _ = token.(string)
		}
		if err := d.Decode(&value); err != nil {
			return err
		}
		end := int(d.InputOffset())
		if !tell(key, raw[end-len(value):end:end]) {
			return nil
		}
	}
	_, err = d.Token()
	return err
}

func tokens(pointer string) []string {
	if pointer == "" {
		return nil
	}
	list := strings.Split(pointer[1:], "/")
	for i, token := range list {
		list[i] = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	}
	return list
}

// lookUp is find for a decoded value.
func lookUp(value any, pointer string) (any, bool) {
	for _, token := range tokens(pointer) {
		switch v := value.(type) {
		case map[string]any:
			inner, ok := v[token]
			if !ok {
				return nil, false
			}
			value = inner
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			value = v[i]
		default:
			return nil, false
		}
	}
	return value, true
}
