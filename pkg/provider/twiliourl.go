package provider

import (
	"net/url"
	"slices"
	"strings"
)

// twilioURLs are the spellings of an address that Twilio may have signed, as its
// libraries try them: the host as it is and in small letters, without a port and
// with the scheme's own; an empty path as it is and as /; the query as it is, with the characters escaped that browsers escape, and decoded
// and written anew. They all name the same address.
func twilioURLs(address string) []string {
	var all []string
	before, query, hasQuery := strings.Cut(address, "?")
	for _, host := range append(twilioHosts(before), twilioHosts(normal(before))...) {
		if !hasQuery {
			all = append(all, host)
			continue
		}
		for _, q := range []string{query, escapedQuery(query), rewrittenQuery(query)} {
			all = append(all, host+"?"+q)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// normal writes scheme and host in small letters and an empty path as /.
func normal(address string) string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return address
	}
	end := strings.IndexAny(rest, "/#")
	if end < 0 {
		user := strings.LastIndexByte(rest, '@') + 1
		return strings.ToLower(scheme) + "://" + rest[:user] + strings.ToLower(rest[user:]) + "/"
	}
	user := strings.LastIndexByte(rest[:end], '@') + 1
	tail := rest[end:]
	if tail[0] == '#' {
		tail = "/" + tail
	}
	return strings.ToLower(scheme) + "://" + rest[:user] + strings.ToLower(rest[user:end]) + tail
}

func twilioHosts(address string) []string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return []string{address}
	}
	end := strings.IndexAny(rest, "/#")
	if end < 0 {
		end = len(rest)
	}
	host, tail := rest[:end], rest[end:]
	bare := host
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') && strings.Trim(host[i+1:], "0123456789") == "" {
		bare = host[:i]
	}
	port := ":443"
	if scheme == "http" {
		port = ":80"
	}
	return []string{address, scheme + "://" + bare + tail, scheme + "://" + bare + port + tail}
}

// escapedQuery escapes what a URL parser of a browser does not leave in a query.
func escapedQuery(query string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(query) {
		c := query[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"'<>`, c) >= 0 {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// rewrittenQuery decodes a query and writes it as Node's querystring does: fields of
// one name together, blanks as %20, and ! ' ( ) * as they are.
func rewrittenQuery(query string) string {
	var names []string
	values := map[string][]string{}
	for field := range strings.SplitSeq(query, "&") {
		if field == "" {
			continue
		}
		name, value, _ := strings.Cut(field, "=")
		name, value = unescaped(name), unescaped(value)
		if _, seen := values[name]; !seen {
			names = append(names, name)
		}
		values[name] = append(values[name], value)
	}
	plain := strings.NewReplacer("+", "%20", "%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*")
	var fields []string
	for _, name := range names {
		for _, value := range values[name] {
			fields = append(fields, plain.Replace(url.QueryEscape(name))+"="+plain.Replace(url.QueryEscape(value)))
		}
	}
	return strings.Join(fields, "&")
}
