package cases

import (
	"fmt"
	"strings"

	"waybill.internal/pkg/integration"
)

// charsetOf gives our name of one of Python's codecs.
func charsetOf(enc string) (string, error) {
	name := strings.ReplaceAll(strings.ToLower(enc), "_", "-")
	if strings.Trim(name, "0123456789") == "" && name != "" && name != "8859" {
		name = "cp" + name
	}
	if ours, ok := codecs()[name]; ok {
		return ours, nil
	}
	if page, ok := strings.CutPrefix(name, "cp"); ok {
		name = "windows-" + page
		if !strings.HasPrefix(page, "125") && page != "874" {
			name = "ibm" + page
		}
	}
	if rest, ok := strings.CutPrefix(name, "iso8859"); ok {
		name = "iso-8859" + rest
	}
	for _, spelling := range []string{name, strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", ""), "x-" + name} {
		if _, canonical, err := integration.Charset(spelling); err == nil {
			return canonical, nil
		}
	}
	return "", fmt.Errorf("spec: the encoding %q is not known here", enc)
}

// codecs are names of Python's whose likeness with ours does not tell them. Those with
// a byte order mark are left to it.
func codecs() map[string]string {
	return map[string]string{
		"": "utf-8", "utf-8-sig": "utf-8", "utf8": "utf-8", "utf-8": "utf-8", "u8": "utf-8", "cp65001": "utf-8",
		"utf-16": "auto", "utf16": "auto", "u16": "auto", "utf-32": "auto", "utf32": "auto", "u32": "auto",
		"utf-16-le": "utf-16le", "utf-16-be": "utf-16be",
		"latin-1": "iso-8859-1", "latin1": "iso-8859-1", "iso8859-1": "iso-8859-1", "iso-8859-1": "iso-8859-1", "8859": "iso-8859-1", "cp819": "iso-8859-1", "l1": "iso-8859-1",
		"latin9": "iso-8859-15", "latin10": "iso-8859-16", "mac-roman": "macintosh", "macroman": "macintosh",
		"cp932": "shift_jis", "ms932": "shift_jis", "mskanji": "shift_jis", "sjis": "shift_jis", "eucjp": "euc-jp", "ujis": "euc-jp", "iso2022-jp": "iso-2022-jp",
		"cp936": "gbk", "ms936": "gbk", "gb18030-2000": "gb18030", "euckr": "euc-kr", "cp949": "euc-kr", "ms949": "euc-kr", "uhc": "euc-kr",
		"cp858": "ibm00858", "cp1140": "ibm01140",
		"cp950": "big5", "ms950": "big5", "big5-tw": "big5", "big5hkscs": "big5", "big5-hkscs": "big5",
	}
}
