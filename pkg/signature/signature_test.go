package signature_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"waybill.internal/pkg/signature"
)

const secretA = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var (
	body = []byte(`{"test": 2432232314}`)
	at   = time.Unix(1614265330, 0)
)

func mustKey(t testing.TB, text string) signature.Key {
	t.Helper()
	k, err := signature.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func secretOf(fill byte, n int) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(fill)), n)))
}

func seedKey(t testing.TB, fill byte) (private, public signature.Key) {
	t.Helper()
	seed := []byte(strings.Repeat(string(rune(fill)), ed25519.SeedSize))
	pub := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	return mustKey(t, "whsk_"+base64.StdEncoding.EncodeToString(seed)), mustKey(t, "whpk_"+base64.StdEncoding.EncodeToString(pub))
}

func verifier(t testing.TB, keys ...signature.Key) *signature.Verifier {
	t.Helper()
	v, err := signature.NewVerifier(keys, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wantCode(t *testing.T, err error, code signature.Code) {
	t.Helper()
	var e *signature.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want code %s", err, code)
	}
}

func TestPublishedSignature(t *testing.T) {
	t.Parallel()
	got, err := mustKey(t, secretA).Signature("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body)
	if err != nil || got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	seed := strings.Repeat("s", 32)
	private := string(ed25519.NewKeyFromSeed([]byte(seed)))
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"prefixed", secretA, true},
		{"bare", strings.TrimPrefix(secretA, "whsec_"), true},
		{"75 bytes, the longest of Svix", secretOf('x', 75), true},
		{"unpadded", strings.TrimRight(secretOf('x', 25), "="), true},
		{"empty", "", false},
		{"prefix only", "whsec_", false},
		{"23 bytes", secretOf('x', 23), false},
		{"76 bytes", secretOf('x', 76), false},
		{"not base64", "whsec_*************************************", false},
		{"line break inside", secretA[:20] + "\n" + secretA[20:], false},
		{"stray bits", "whsec_" + strings.TrimRight(b64(strings.Repeat("x", 25)), "=")[:33] + "B", false},
		{"seed", "whsk_" + b64(seed), true},
		{"private", "whsk_" + b64(private), true},
		{"private with foreign half", "whsk_" + b64(private[:32]+strings.Repeat("p", 32)), false},
		{"private short", "whsk_" + b64(seed[:31]), false},
		{"public", "whpk_" + b64(private[32:]), true},
		{"public short", "whpk_" + b64(private[33:]), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := signature.ParseKey(c.text)
			if (err == nil) != c.ok {
				t.Fatalf("ok=%v, error %v", c.ok, err)
			}
			if err != nil && len(c.text) > 8 && strings.Contains(err.Error(), c.text[8:]) {
				t.Fatalf("the error repeats the key: %v", err)
			}
		})
	}
}

func TestKeyHidesItself(t *testing.T) {
	t.Parallel()
	k := mustKey(t, secretOf('Q', 24))
	js, err := json.Marshal(map[string]any{"k": k})
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{fmt.Sprint(k), fmt.Sprintf("%+v %#v %x %d %q", k, k, k, k, k), fmt.Sprintf("%v", []signature.Key{k}), string(js)} {
		if strings.Contains(out, "QQ") || strings.Contains(out, "81 81") || strings.Contains(out, "5151") || !strings.Contains(out, "hidden") {
			t.Fatalf("printed %q", out)
		}
	}
}

func TestSignThenVerifyWithRotation(t *testing.T) {
	t.Parallel()
	oldKey, newKey := mustKey(t, secretA), mustKey(t, secretOf('n', 32))
	private, public := seedKey(t, 's')
	stranger, _ := seedKey(t, 'z')
	for _, c := range []struct {
		name  string
		sign  []signature.Key
		with  []signature.Key
		index int
	}{
		{"one", []signature.Key{oldKey}, []signature.Key{oldKey}, 0},
		{"second key", []signature.Key{newKey}, []signature.Key{oldKey, newKey}, 1},
		{"both signed, old known", []signature.Key{newKey, oldKey}, []signature.Key{oldKey}, 0},
		{"ed25519", []signature.Key{private}, []signature.Key{public}, 0},
		{"mixed list", []signature.Key{oldKey, private}, []signature.Key{newKey, public}, 1},
		{"ed25519 stranger", []signature.Key{stranger}, []signature.Key{public, oldKey}, -1},
		{"unknown secret", []signature.Key{newKey}, []signature.Key{oldKey, public}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h, err := signature.Sign(c.sign, "msg_1", at.Add(700*time.Millisecond), body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := verifier(t, c.with...).Verify(body, h, at)
			if c.index < 0 {
				wantCode(t, err, signature.BadSignature)
				return
			}
			if err != nil || got.KeyIndex != c.index || got.ID != "msg_1" || !got.Timestamp.Equal(at) {
				t.Fatalf("got %+v, %v", got, err)
			}
		})
	}
}

func TestEveryFlippedBitIsRefused(t *testing.T) {
	t.Parallel()
	private, public := seedKey(t, 's')
	secret := mustKey(t, secretA)
	for name, pair := range map[string][2]signature.Key{"hmac": {secret, secret}, "ed25519": {private, public}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, err := signature.Sign([]signature.Key{pair[0]}, "msg_1", at, body)
			if err != nil {
				t.Fatal(err)
			}
			v := verifier(t, pair[1])
			refuse := func(what string, raw []byte, h http.Header) {
				if _, err := v.Verify(raw, h, at); err == nil {
					t.Errorf("accepted with flipped %s", what)
				}
			}
			for bit := range len(body) * 8 {
				raw := append([]byte(nil), body...)
				raw[bit/8] ^= 1 << (bit % 8)
				refuse("body bit "+strconv.Itoa(bit), raw, h)
			}
			for _, name := range []string{signature.HeaderID, signature.HeaderTimestamp, signature.HeaderSignature} {
				text := h.Get(name)
				for bit := range len(text) * 8 {
					changed := []byte(text)
					changed[bit/8] ^= 1 << (bit % 8)
					g := h.Clone()
					g.Set(name, string(changed))
					refuse(name+" bit "+strconv.Itoa(bit), body, g)
				}
			}
		})
	}
}

func TestToleranceBothWays(t *testing.T) {
	t.Parallel()
	key := mustKey(t, secretA)
	h, err := signature.Sign([]signature.Key{key}, "msg_1", at, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		offset time.Duration
		ok     bool
	}{
		{0, true}, {299 * time.Second, true}, {300 * time.Second, true}, {301 * time.Second, false}, {300*time.Second + 1, false},
		{-299 * time.Second, true}, {-300 * time.Second, true}, {-301 * time.Second, false},
		{100 * 365 * 24 * time.Hour, false}, {-51 * 365 * 24 * time.Hour, false},
	} {
		_, err := verifier(t, key).Verify(body, h, at.Add(c.offset))
		if c.ok && err != nil {
			t.Errorf("%s: %v", c.offset, err)
		}
		if !c.ok {
			wantCode(t, err, signature.TimestampOutOfRange)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	key := mustKey(t, secretA)
	good, err := signature.Sign([]signature.Key{key}, "msg_1", at, body)
	if err != nil {
		t.Fatal(err)
	}
	sig := good.Get(signature.HeaderSignature)
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	add := func(name, value string) func(http.Header) { return func(h http.Header) { h.Add(name, value) } }
	del := func(name string) func(http.Header) { return func(h http.Header) { h.Del(name) } }
	for _, c := range []struct {
		name string
		edit func(http.Header)
		code signature.Code
	}{
		{"no signature", del("webhook-signature"), signature.MissingSignature},
		{"empty signature", set("webhook-signature", ""), signature.MissingSignature},
		{"blank signature", set("webhook-signature", "  "), signature.MalformedSignature},
		{"no id", del("webhook-id"), signature.MissingID},
		{"no timestamp", del("webhook-timestamp"), signature.MissingTimestamp},
		{"two signatures headers", add("webhook-signature", sig), signature.DuplicateHeader},
		{"two ids", add("webhook-id", "msg_1"), signature.DuplicateHeader},
		{"two timestamps", add("webhook-timestamp", "1614265330"), signature.DuplicateHeader},
		{"version only", set("webhook-signature", "v1"), signature.MalformedSignature},
		{"version and comma", set("webhook-signature", "v1,"), signature.MalformedSignature},
		{"only the digest", set("webhook-signature", sig[3:]), signature.MalformedSignature},
		{"prefix of it", set("webhook-signature", sig[:len(sig)-5]), signature.MalformedSignature},
		{"unknown version", set("webhook-signature", "v2"+sig[2:]), signature.MalformedSignature},
		{"hmac called ed25519", set("webhook-signature", "v1a"+sig[2:]), signature.MalformedSignature},
		{"too many", set("webhook-signature", strings.Repeat(sig+" ", 33)), signature.MalformedSignature},
		{"too long", set("webhook-signature", strings.Repeat("x", 5000)), signature.MalformedSignature},
		{"id with full stop", set("webhook-id", "msg.1"), signature.MalformedID},
		{"id with blank", set("webhook-id", "msg 1"), signature.MalformedID},
		{"id too long", set("webhook-id", strings.Repeat("m", 257)), signature.MalformedID},
		{"timestamp signed", set("webhook-timestamp", "+1614265330"), signature.MalformedTimestamp},
		{"timestamp fraction", set("webhook-timestamp", "1614265330.0"), signature.MalformedTimestamp},
		{"timestamp huge", set("webhook-timestamp", strings.Repeat("9", 40)), signature.MalformedTimestamp},
		{"timestamp with leading zero", set("webhook-timestamp", "01614265330"), signature.BadSignature},
		{"other id", set("webhook-id", "msg_2"), signature.BadSignature},
		{"mixed sets", func(h http.Header) { h.Del("webhook-id"); h.Set("svix-id", "msg_1") }, signature.MissingID},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := good.Clone()
			c.edit(h)
			_, err := verifier(t, key).Verify(body, h, at)
			wantCode(t, err, c.code)
			if strings.Contains(err.Error(), sig[3:]) {
				t.Fatalf("the error repeats the signature: %v", err)
			}
		})
	}
}

func TestListToleratesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	key := mustKey(t, secretA)
	h, err := signature.Sign([]signature.Key{key}, "msg_1", at, body)
	if err != nil {
		t.Fatal(err)
	}
	h.Set(signature.HeaderSignature, "v9,abc v1,short "+h.Get(signature.HeaderSignature)+" v1a,xx")
	if _, err := verifier(t, key).Verify(body, h, at); err != nil {
		t.Fatal(err)
	}
}

func TestSignAndVerifierRefuseNonsense(t *testing.T) {
	t.Parallel()
	key := mustKey(t, secretA)
	_, public := seedKey(t, 's')
	many := make([]signature.Key, signature.MaxKeys+1)
	for i := range many {
		many[i] = key
	}
	for name, call := range map[string]func() error{
		"no keys":          func() error { _, err := signature.Sign(nil, "a", at, body); return err },
		"too many keys":    func() error { _, err := signature.Sign(many, "a", at, body); return err },
		"public key":       func() error { _, err := signature.Sign([]signature.Key{public}, "a", at, body); return err },
		"zero key":         func() error { _, err := signature.Sign([]signature.Key{{}}, "a", at, body); return err },
		"empty id":         func() error { _, err := signature.Sign([]signature.Key{key}, "", at, body); return err },
		"id with stop":     func() error { _, err := signature.Sign([]signature.Key{key}, "a.b", at, body); return err },
		"before 1970":      func() error { _, err := signature.Sign([]signature.Key{key}, "a", time.Unix(-1, 0), body); return err },
		"verifier no keys": func() error { _, err := signature.NewVerifier(nil, 0); return err },
		"verifier many":    func() error { _, err := signature.NewVerifier(many, 0); return err },
		"verifier zero":    func() error { _, err := signature.NewVerifier([]signature.Key{{}}, 0); return err },
		"negative":         func() error { _, err := signature.NewVerifier([]signature.Key{key}, -1); return err },
	} {
		if call() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func ExampleSign() {
	key, err := signature.ParseKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(1614265330, 0)
	h, err := signature.Sign([]signature.Key{key}, "msg_p5jXN8AQM9LWM0D4loKWxJek", now, []byte(`{"test": 2432232314}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(h.Get(signature.HeaderSignature))
	// Output: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
}

func FuzzVerify(f *testing.F) {
	f.Add("msg_1", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", []byte("{}"))
	f.Add("", "-1", "v1a, v1,", []byte(nil))
	key, _ := signature.ParseKey(secretA)
	v, err := signature.NewVerifier([]signature.Key{key}, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, ts, sig string, raw []byte) {
		h := http.Header{}
		h.Set(signature.HeaderID, id)
		h.Set(signature.HeaderTimestamp, ts)
		h.Set(signature.HeaderSignature, sig)
		got, err := v.Verify(raw, h, at)
		if err != nil {
			var e *signature.Error
			if !errors.As(err, &e) || e.Code == "" {
				t.Fatalf("refused without a code: %v", err)
			}
			return
		}
		// Whatever is accepted must carry the signature we would have made.
		want, err := key.Signature(got.ID, got.Timestamp, raw)
		if err != nil || !strings.Contains(sig, want) {
			t.Fatalf("accepted a forgery: %q for %q", sig, want)
		}
	})
}
