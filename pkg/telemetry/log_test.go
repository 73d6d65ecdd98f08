package telemetry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"waybill.internal/pkg/telemetry"
)

type login struct {
	User     string
	Password string
	Key      telemetry.Secret
}

func (l login) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddString("user", l.User)
	e.AddString("password", l.Password)
	return nil
}

func TestLoggerRedacts(t *testing.T) {
	t.Parallel()
	out := &buffer{}
	log := telemetry.NewLogger("ingest", zapcore.InfoLevel, out).With(zap.String("api_key", "canary"), zap.Any("secret", telemetry.NewSecret("canary")))
	u := &url.URL{Scheme: "postgres", User: url.UserPassword("u", "canary"), Host: "h"}
	log.Info("connect postgres://u:canary@h/d with Bearer canary.x-y and whsec_Y2FuYXJ5canary",
		zap.String("password", "canary"), zap.String("Authorization", "canary"), zap.ByteString("raw", []byte("canary")), zap.Binary("bin", []byte("canary")),
		zap.Error(errors.New("dial postgres://u:canary@h: api_key=canary refused")), zap.Stringer("url", u), zap.Any("header", http.Header{"X-Api-Key": {"canary"}}),
		zap.Any("login", login{"u", "canary", telemetry.NewSecret("canary")}), zap.Object("object", login{User: "u", Password: "canary"}),
		zap.Inline(login{User: "u", Password: "canary"}), zap.Strings("texts", []string{"token: canary"}), zap.Any("body", map[string]string{"a": "canary"}),
		zap.Any("deep", map[string]any{"a": []any{map[string]any{"client_secret": "canary"}}}), zap.Int("kept", 7), zap.Duration("took", time.Second),
		zap.Error((*nilError)(nil)), zap.Any("odd", func() {}))
	log.Debug("canary")
	text := out.String()
	if strings.Contains(text, "canary") {
		t.Errorf("a secret is logged: %s", text)
	}
	var entry map[string]any
	if err := json.Unmarshal([]byte(text), &entry); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if entry["service"] != "ingest" || entry["kept"] != 7.0 || entry["took"] != "1s" || entry["level"] != "info" || entry["user"] != "u" {
		t.Errorf("lost: %s", text)
	}
}

type nilError struct{ text string }

func (n *nilError) Error() string { return n.text }

func TestSecret(t *testing.T) {
	t.Parallel()
	s := telemetry.NewSecret("canary")
	raw, err := json.Marshal(map[string]any{"a": s, "b": &s, "c": []telemetry.Secret{s}})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(raw), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%+v", login{Key: s})} {
		if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) || !strings.Contains(text, "***") {
			t.Errorf("printed as %s", text)
		}
	}
	if s.Reveal() != "canary" || !s.IsSet() || telemetry.NewSecret("").String() != "" {
		t.Error("the value is lost")
	}
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	r, err := telemetry.NewRegistry("ingest", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	first, err := r.Counter(telemetry.Arrivals)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.Counter(telemetry.Arrivals)
	if err != nil || again != first {
		t.Errorf("asking twice: %v", err)
	}
	first.WithLabelValues("a", "b", "received").Inc()
	for _, bad := range []telemetry.Metric{telemetry.Unaccounted, "invented"} {
		if _, err := r.Counter(bad); err == nil {
			t.Errorf("%s is a counter", bad)
		}
	}
	for _, m := range []telemetry.Metric{telemetry.AcceptSeconds, telemetry.CommitBatch} {
		if _, err := r.Histogram(m); err != nil {
			t.Error(err)
		}
	}
	server := newServer(t, r.Handler())
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`waybill_arrivals_total{answer="received",integration="a",source="b"} 1`, `version="1.2.3"`, "go_goroutines"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s", want)
		}
	}
}

func newServer(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}
