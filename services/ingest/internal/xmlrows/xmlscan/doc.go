// Package xmlscan cuts an XML document into elements and text as a stream, and
// refuses what is not well-formed with a named [rows.FileError].
//
//	s, err := xmlscan.Open(file, xmlscan.Options{MaxDepth: 64})
//	for {
//		t, err := s.Next() // io.EOF after the root's end
//	}
//
// It is not encoding/xml, because that reads too much: it lets through repeated
// attributes, undeclared prefixes, broken DTDs and two million nested elements,
// holds a text or DTD of any size in memory, and cannot bound what entities
// expand to.
//
// # What is read
//
// XML 1.0 (fifth edition) with namespaces, without validation. The internal part
// of a DTD is read: its syntax is checked, its internal entities are expanded,
// markup inside them included, and its default attributes are filled in. Nothing
// is ever fetched: an external DTD is passed over, and a reference to an external
// entity is refused. An entity that nobody declares is refused. A prefix that
// nobody declares is refused. Comments and processing instructions are passed over.
//
// # Bounds
//
// Memory does not depend on the document: text is given in pieces, and everything
// that must be held is bounded by a constant of this package. What entities expand
// to may be 16 times what was read of the file and a MiB; more is a [rows.Bomb].
//
// # Encodings
//
// A byte order mark decides, else UTF-16 is seen by its zero bytes, else the
// declared encoding by its name on the web, else it is UTF-8. ISO-8859-1 is read as
// windows-1252, as browsers do, the five bytes that this has no letter for as control
// characters; a declared UTF-16 over bytes that are none is UTF-8,
// which is what programs that write such files mean. Bytes that are no text of the
// encoding are refused, never replaced.
package xmlscan
