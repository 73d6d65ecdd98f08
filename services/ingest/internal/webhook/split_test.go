package webhook

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"waybill.internal/pkg/fault"
)

func TestSplitList(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body string
		want string // elements with their lines, or the error
	}{
		{`[]`, ``},
		{" [ \n ] ", ``},
		{`[1]`, `1:1`},
		{"[1,\n 2 ,\n\n{\"a\":[1,2]}]\n", `1:1 2:2 {"a":[1,2]}:4`},
		{`["],[","\"]",{"}":"]"}]`, `"],[":1 "\"]":1 {"}":"]"}:1`},
		{`[1,]`, `1:1 :1`},
		{`[,]`, `:1 :1`},
		{`[1}2,3]`, `1}2:1 3:1`},
		{"[1,\n[2", `line 2: the list is not closed`},
		{"[1,\n\"2]", `line 2: the list is not closed`},
		{`[1,"\`, `line 1: the list is not closed`},
		{"[1]\n\n2", `line 3: something follows`},
		{`[1]]`, `line 1: something follows`},
		{`[1,2,3,4,5`, `1:1 2:1 3:1 4:1`}, // no further than the limit
	} {
		items, err := splitList([]byte(c.body), 3)
		var got []string
		for _, i := range items {
			got = append(got, fmt.Sprintf("%s:%d", i.raw, i.line))
		}
		text := strings.Join(got, " ")
		if err != nil {
			text = err.Error()
		}
		if text != c.want && (err == nil || !strings.HasPrefix(text, c.want)) {
			t.Errorf("%q: got %q, want %q", c.body, text, c.want)
		}
	}
}

// FuzzSplitList: what is JSON is split as JSON is, and nothing breaks it.
func FuzzSplitList(f *testing.F) {
	for _, seed := range []string{`[]`, `[1,{"a":"]"},[2]]`, `["\\",1`, "[\n\n1 ,2]x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !isList(raw) {
			return
		}
		items, err := splitList(raw, 1000)
		var want []json.RawMessage
		if json.Unmarshal(raw, &want) != nil {
			return
		}
		if err != nil || len(items) != min(len(want), 1001) {
			t.Fatalf("%d items of %d, %v", len(items), len(want), err)
		}
		for i := range items {
			if string(items[i].raw) != strings.TrimSpace(string(want[i])) {
				t.Fatalf("item %d is %q, not %q", i, items[i].raw, want[i])
			}
		}
	})
}

// FuzzForm: every form is JSON or refused as the sender's fault.
func FuzzForm(f *testing.F) {
	f.Add([]byte("a=1&a=2&b=%C3%BC&=x&c"), false)
	f.Add([]byte("--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\nhello\r\n--B--"), true)
	f.Fuzz(func(t *testing.T, raw []byte, parts bool) {
		kind := formContent
		if parts {
			kind = partsContent
		}
		out, err := formJSON(raw, kind, "B", 100)
		var object map[string]any
		switch {
		case err == nil && json.Unmarshal(out, &object) != nil:
			t.Fatalf("%q is no object", out)
		case err != nil && fault.Of(err).Class != fault.Data:
			t.Fatalf("not the sender's fault: %v", err)
		}
	})
}

func TestClient(t *testing.T) {
	t.Parallel()
	trusted := proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:5", "203.0.113.9", "192.0.2.1/32"},
		{"10.0.0.1:5", "", "10.0.0.1/32"},
		{"10.0.0.1:5", "203.0.113.9", "203.0.113.9/32"},
		{"10.0.0.1:5", "1.1.1.1, 203.0.113.9 ,10.9.9.9", "203.0.113.9/32"},
		{"10.0.0.1:5", "1.1.1.1, unknown, 10.9.9.9", "10.9.9.9/32"},
		{"10.0.0.1:5", "10.1.1.1,10.2.2.2", "10.1.1.1/32"},
		{"10.0.0.1:5", "1.1.1.1, 203.0.113.9:4711", "203.0.113.9/32"},
		{"10.0.0.1:5", "[2001:db8:1:2::6]:4711", "2001:db8:1:2::/64"},
		{"[fd00::1]:5", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"[::ffff:192.0.2.1]:5", "", "192.0.2.1/32"},
		{"nonsense", "1.1.1.1", "invalid Prefix"},
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := trusted.client(r).String(); got != c.want {
			t.Errorf("%s, %q: got %s, want %s", c.remote, c.forwarded, got, c.want)
		}
	}
}

func TestAddressesForgetTheLongestSilent(t *testing.T) {
	t.Parallel()
	a := newAddresses(func() *rate.Limiter { return rate.NewLimiter(rate.Every(time.Hour), 1) })
	network := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	if a.take(network(0)) != 0 || a.take(network(0)) == 0 {
		t.Fatal("the first address has not one token")
	}
	for i := 1; i < maxAddresses; i++ {
		a.take(network(i))
	}
	if a.take(network(0)) == 0 {
		t.Error("an address was forgotten while there was room")
	}
	a.take(network(maxAddresses)) // the longest silent one is 1 now
	if len(a.known) != maxAddresses || a.order.Len() != maxAddresses {
		t.Errorf("%d and %d addresses are known, want %d", len(a.known), a.order.Len(), maxAddresses)
	}
	if a.take(network(0)) == 0 || a.take(network(1)) != 0 {
		t.Error("another than the longest silent address was forgotten")
	}
}
