// Package remote reaches the places other than a local directory where partners
// leave files: a web address, an FTP, FTPS or SFTP server, an S3-compatible bucket.
//
//	store, err := remote.Open(ctx, f, remote.Options{Source: "orders/file", Log: log})
//	defer store.Close()
//	entries, more, err := store.List(ctx, f.Match, 1000)
//	got, err := store.Fetch(ctx, entries[0], spool, 0)
//	err = store.Move(ctx, got, "done")
//
// # Looking
//
// List gives the regular files of the folder whose names match, in the order of
// their names. Hidden names and names that end in .tmp or .part are left out, as
// are names that could mean something else than a file of this folder (with a
// slash, a backslash, a control character, longer than 255 bytes); those are
// logged. A name that a server gave is never used as a local path here, and must
// not be elsewhere.
//
// A web address is one file. It is asked for with the validators of
// Options.Last; what has not changed since gives no entry.
//
// # Fetching
//
// Fetch writes the file into an open one. A transfer that broke off is continued:
// what came is a true beginning of the file, and the next Fetch of an Entry that
// is the Same, at the length of what is there, asks for the rest (Range with
// If-Range or If-Match, REST, a read at an offset). Where the server cannot do
// that, or the file has nothing to know it by, the transfer begins anew.
//
// A nil error means that the file is whole: so many bytes came as the server says
// the file has, and afterwards it was still the same. A server that does not say
// how long the file is, so that a cut could not be told from its end, is an error.
//
// # Bounds
//
// Every connection goes to an address that pkg/egress would call, also the data
// connections of FTP, which always go to the host of the control connection. A
// server that is silent for Options.Idle is given up; an operation ends after
// Options.Brief, a transfer after Options.Transfer, whatever trickles in. A
// listing is at most maxListing bytes, a file Options.MaxFile.
//
// # Errors
//
// Every error has a class and a code (fault.Of) and says what was done, where,
// to which file, what happened and what to do. A missing file is also
// fs.ErrNotExist, one that is another by now ErrChanged, what a place cannot do
// errors.ErrUnsupported.
//
// A Store is used by one goroutine at a time. It connects when it must and again
// when its connection was lost, so it may be kept while a file is read for hours.
// Its goroutines, those of the protocols' libraries, end with Close.
package remote
