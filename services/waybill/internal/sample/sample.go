// Package sample holds events as third parties send them, written by us after the
// documented shapes: what `waybill trigger` posts. Each is a file
// events/PROVIDER/NAME.json with the event's name, the headers that do not depend on
// the secret, and the body or the fields of a form. In texts {{id}}, {{uuid}},
// {{unix}} and {{time}} stand for a fresh id, a fresh UUID and the time; a text that
// is {{unix}} alone becomes a number.
package sample

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"waybill.internal/pkg/provider"
)

//go:embed events
var files embed.FS

// Event names one sample.
type Event struct {
	Provider string `json:"provider"`
	Name     string `json:"event"`
}

// Fresh is what makes one sending differ from another.
type Fresh struct {
	ID   string // 24 hexadecimal digits
	UUID string
	At   time.Time
}

type file struct {
	Event   string            `json:"event"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
	Form    map[string]string `json:"form"`
}

// List gives every sample, by provider and event.
func List() ([]Event, error) {
	folders, err := files.ReadDir("events")
	if err != nil {
		return nil, fmt.Errorf("list the samples: %w", err)
	}
	var all []Event
	for _, folder := range folders {
		of, err := read(folder.Name())
		if err != nil {
			return nil, err
		}
		for _, f := range of {
			all = append(all, Event{folder.Name(), f.Event})
		}
	}
	return all, nil
}

// read gives the samples of one provider.
func read(name string) ([]file, error) {
	entries, err := files.ReadDir("events/" + name)
	if err != nil || strings.Contains(name, "/") {
		return nil, fmt.Errorf("there are no samples of %s", name)
	}
	var all []file
	for _, entry := range entries {
		raw, err := files.ReadFile(path.Join("events", name, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("read the sample %s/%s: %w", name, entry.Name(), err)
		}
		var f file
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			return nil, fmt.Errorf("the sample %s/%s: %w", name, entry.Name(), err)
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.Event, b.Event) })
	return all, nil
}

// New makes an unsigned request of a sample, to the address given. An error names
// the samples that there are.
func New(name, event, to string, fresh Fresh) (provider.Request, error) {
	all, err := read(name)
	if err != nil {
		return provider.Request{}, fmt.Errorf("%w; waybill trigger --list shows those that there are", err)
	}
	var names []string
	for _, f := range all {
		if f.Event == event {
			return f.request(to, fresh)
		}
		names = append(names, f.Event)
	}
	return provider.Request{}, fmt.Errorf("there is no sample %q of %s; there are %s", event, name, strings.Join(names, ", "))
}

func (f file) request(to string, fresh Fresh) (provider.Request, error) {
	r := provider.Request{Method: http.MethodPost, URL: to, Header: http.Header{"Content-Type": {"application/json"}}}
	for name, value := range f.Headers {
		r.Header.Set(name, fresh.fill(value))
	}
	if f.Form != nil {
		fields := url.Values{}
		for name, value := range f.Form {
			fields.Set(name, fresh.fill(value))
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Body = []byte(fields.Encode())
		return r, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, f.Body); err != nil {
		return r, fmt.Errorf("the sample's body: %w", err)
	}
	unix := strconv.FormatInt(fresh.At.Unix(), 10)
	r.Body = []byte(fresh.fill(strings.ReplaceAll(compact.String(), `"{{unix}}"`, unix)))
	return r, nil
}

func (fresh Fresh) fill(text string) string {
	return strings.NewReplacer("{{id}}", fresh.ID, "{{uuid}}", fresh.UUID, "{{unix}}", strconv.FormatInt(fresh.At.Unix(), 10),
		"{{time}}", fresh.At.UTC().Format(time.RFC3339)).Replace(text)
}
