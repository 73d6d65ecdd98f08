package telemetry

import (
	"encoding/json"
	"fmt"
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// NewLogger returns a logger that writes one JSON object a line to out and
// takes secrets out of every message and field.
func NewLogger(service string, level zapcore.LevelEnabler, out io.Writer) *zap.Logger {
	config := zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", NameKey: "logger", MessageKey: "message", StacktraceKey: "stack",
		LineEnding: zapcore.DefaultLineEnding, EncodeLevel: zapcore.LowercaseLevelEncoder,
		EncodeTime: zapcore.RFC3339NanoTimeEncoder, EncodeDuration: zapcore.StringDurationEncoder,
	}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(config), zapcore.Lock(zapcore.AddSync(out)), level)
	return zap.New(&redactor{core}, zap.ErrorOutput(zapcore.Lock(zapcore.AddSync(out)))).With(zap.String(FieldService, service))
}

// redactor is a core that cleans what passes through to the one it wraps.
type redactor struct{ zapcore.Core }

func (r *redactor) With(fields []zapcore.Field) zapcore.Core {
	return &redactor{r.Core.With(redactFields(fields))}
}

func (r *redactor) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if r.Enabled(e.Level) {
		return ce.AddCore(e, r)
	}
	return ce
}

func (r *redactor) Write(e zapcore.Entry, fields []zapcore.Field) error {
	e.Message = Scrub(e.Message)
	return r.Core.Write(e, redactFields(fields))
}

func redactFields(fields []zapcore.Field) []zapcore.Field {
	out := make([]zapcore.Field, len(fields))
	for i, f := range fields {
		out[i] = redactField(f)
	}
	return out
}

func redactField(f zapcore.Field) zapcore.Field {
	if f.Type == zapcore.SkipType || f.Type == zapcore.NamespaceType {
		return f
	}
	if sensitiveField(f.Key) {
		return zap.String(f.Key, hidden)
	}
	switch f.Type {
	case zapcore.StringType:
		f.String = Scrub(f.String)
		return f
	case zapcore.ByteStringType, zapcore.BinaryType:
		b, ok := f.Interface.([]byte)
		if !ok {
			return zap.String(f.Key, hidden)
		}
		// Bytes are payloads far more often than words: only their number is kept.
		return zap.String(f.Key, fmt.Sprintf("[%d bytes]", len(b)))
	case zapcore.ErrorType, zapcore.StringerType, zapcore.ReflectType, zapcore.ArrayMarshalerType, zapcore.ObjectMarshalerType, zapcore.InlineMarshalerType:
		return redactValue(f)
	}
	return f
}

// redactValue renders what only the encoder knows how to write, and cleans that.
func redactValue(f zapcore.Field) zapcore.Field {
	switch v := f.Interface.(type) {
	case Secret:
		return zap.String(f.Key, v.String())
	case error:
		return zap.String(f.Key, Scrub(safely(v.Error)))
	case fmt.Stringer:
		return zap.String(f.Key, Scrub(safely(v.String)))
	}
	m := zapcore.NewMapObjectEncoder()
	f.AddTo(m)
	raw, err := json.Marshal(m.Fields)
	if err != nil {
		return zap.String(f.Key, "[cannot be written as JSON]")
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return zap.String(f.Key, "[cannot be written as JSON]")
	}
	cleaned := redactAny(fields).(map[string]any)
	if f.Type == zapcore.InlineMarshalerType {
		return zap.Inline(zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
			for k, v := range cleaned {
				if err := enc.AddReflected(k, v); err != nil {
					return fmt.Errorf("log field %s: %w", k, err)
				}
			}
			return nil
		}))
	}
	return zap.Any(f.Key, cleaned[f.Key])
}

// safely survives the String or Error method of a nil pointer.
func safely(text func() string) (s string) {
	defer func() {
		if recover() != nil {
			s = "<nil>"
		}
	}()
	return text()
}

func redactAny(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if sensitiveField(k) {
				v[k] = hidden
			} else {
				v[k] = redactAny(inner)
			}
		}
		return v
	case []any:
		for i := range v {
			v[i] = redactAny(v[i])
		}
		return v
	case string:
		return Scrub(v)
	}
	return v
}
