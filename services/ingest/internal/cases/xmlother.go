package cases

import (
	"bytes"
	"regexp"
	"slices"
	"unicode/utf8"
)

// reading is a document changed to what the other parser made of it, where that
// follows other rules than we do, and says so.
type reading struct {
	how     string
	content []byte
}

// otherReadings gives what may differ without being wrong. That parser reads
// ISO-8859-1 by the letter, we as windows-1252; and it leaves out what a DTD puts
// into a document (defaults of attributes, and entities unless it was asked for
// them), which XML asks every reader to put in.
func otherReadings(c Case) []reading {
	content := c.Content()
	out := []reading{{how: "without the defaults of attributes, which the DTD puts in", content: withoutDTD(content, true)}}
	if !c.Spec.Entities {
		out = append(out, reading{how: "without entities and defaults of attributes, which the DTD puts in", content: withoutDTD(content, false)})
	}
	if latin1.Match(content[:min(len(content), 200)]) {
		out = append(out, reading{how: "with control characters for what windows-1252 has letters for", content: byTheLetter(content)})
	}
	return slices.DeleteFunc(out, func(r reading) bool { return bytes.Equal(r.content, content) })
}

var (
	latin1    = regexp.MustCompile(`(?i)^<\?xml[^>]*encoding=["'](?:iso-?8859-1|latin-?1)["']`)
	quoted    = `"[^"]*"|'[^']*'`
	document  = regexp.MustCompile(`(?s)<!\[CDATA\[.*?\]\]>|<!--.*?-->|<\?.*?\?>|<!DOCTYPE(?:[^\["'>]|` + quoted + `)*(?:\[.*?\]\s*)?>|<(?:[^"'>]|` + quoted + `)*>|&[\w.:-]+;`)
	attlist   = regexp.MustCompile(`(?s)<!ATTLIST(?:[^"'>]|` + quoted + `)*>`)
	defaults  = regexp.MustCompile(`(?s)(?:#FIXED\s+)?(?:` + quoted + `)`)
	wellKnown = regexp.MustCompile(`^&(?:lt|gt|amp|quot|apos);$`)
)

// withoutDTD leaves out the defaults of attributes, and references to entities in
// text unless they are to be kept.
func withoutDTD(content []byte, keepEntities bool) []byte {
	return document.ReplaceAllFunc(content, func(part []byte) []byte {
		switch {
		case bytes.HasPrefix(part, []byte("<!DOCTYPE")):
			return attlist.ReplaceAllFunc(part, func(list []byte) []byte { return defaults.ReplaceAll(list, []byte("#IMPLIED")) })
		case part[0] == '&' && !keepEntities && !wellKnown.Match(part):
			return nil
		}
		return part
	})
}

// byTheLetter makes ISO-8859-1 UTF-8, whose byte order mark wins over what is declared.
func byTheLetter(content []byte) []byte {
	out := []byte("\xef\xbb\xbf")
	for _, b := range content {
		out = utf8.AppendRune(out, rune(b))
	}
	return out
}
