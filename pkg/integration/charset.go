package integration

import (
	"fmt"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
)

// CharsetAuto leaves the encoding of a text file to its first bytes.
const CharsetAuto = "auto"

// Charset finds an encoding by its name on the web (iso-8859-1 is windows-1252 there)
// or, for the code pages of old systems, in IANA's list (ibm850). The name it gives
// back is the same for all spellings. Those that browsers refuse to decode (hz-gb-2312,
// iso-2022-kr, utf-7) are refused.
func Charset(name string) (encoding.Encoding, string, error) {
	enc, err := htmlindex.Get(name)
	if err == nil {
		canonical, err := htmlindex.Name(enc)
		if err != nil || canonical == "replacement" || canonical == "x-user-defined" {
			return nil, "", fmt.Errorf("the charset %q cannot be decoded safely; ask for utf-8", shorten(name))
		}
		return enc, canonical, nil
	}
	if enc, err = ianaindex.IANA.Encoding(name); err == nil && enc != nil {
		if canonical, err := ianaindex.IANA.Name(enc); err == nil && strings.HasPrefix(canonical, "IBM") {
			return enc, strings.ToLower(canonical), nil
		}
	}
	return nil, "", fmt.Errorf("the charset %q is not known; write a name of the web such as utf-8, windows-1252 or iso-8859-7, an old code page such as ibm850, or auto", shorten(name))
}
