// Package xmlrows reads the records of an XML file as a stream: one element is one
// record, one is held at a time, and the records before the place where a file
// breaks are given.
//
// # Which elements are records
//
// Without integration.XML.Record each child of the root. A name such as Order is
// that element anywhere; a path such as /Orders/Order is from the root. A name
// without prefix fits any namespace, one with a prefix that of Namespaces. A record
// inside a record is a record of its own and also part of the outer one; the outer
// one comes first.
//
// # What a record looks like
//
// An element becomes a JSON object: its attributes as "@name", its text as "#text",
// its children by their names, in this order, and in the order of the document.
// Children of the same name become a list where the first of them stands. An
// element with nothing but text is that text, as it stands; an empty one is "". In
// a record itself, text is always "#text". The text between children is joined and
// loses the blanks around it, and is left out when nothing is left. Comments and
// processing instructions are left out, CDATA is text, values are always text:
//
//	<Order id="7"><Line>a</Line><Line qty="2">b</Line><Note/></Order>
//	{"@id":"7","Line":["a",{"@qty":"2","#text":"b"}],"Note":""}
//
// # Namespaces
//
// Elements and attributes have their local names: prefixes are the sender's choice
// and change from file to file. An attribute whose namespace has a prefix in
// integration.XML.Namespaces is "@prefix:name" with that prefix. Attributes that
// end up with the same name become a list. Declarations of namespaces are left out.
//
// # What ends a file, and what does not
//
// XML that is not well-formed cannot be read on: a [rows.FileError], see package
// xmlscan for what is refused and for the encodings. A record that is longer than the limit, has more
// than 100,000 elements and attributes or is nested deeper than JSON is read (64,
// lists included) is a [rows.RowError], and reading goes on behind it; the records
// inside it are not given. One that goes on for 16 MiB more than the limit ends the
// file.
package xmlrows
