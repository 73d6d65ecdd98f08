package integration_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"waybill.internal/pkg/integration"
)

// TestRemoteFrom holds what becomes of the addresses of files on other machines.
func TestRemoteFrom(t *testing.T) {
	t.Parallel()
	const login = `remote: {username: brand, password: "${KEY}"}`
	cases := []struct{ source, scheme, from, match, after string }{
		{`from: "https://files.example/export.csv?day=1"`, "https", "https://files.example/export.csv?day=1", "*", "keep"},
		{`from: "HTTP://files.example/export.csv", remote: {auth: {bearer: "${KEY}"}}`, "http", "http://files.example/export.csv", "*", "keep"},
		{`from: "ftp://files.example/out/*.csv"`, "ftp", "ftp://files.example/out/", "*.csv", "move"},
		{`from: "ftp://files.example", ` + login, "ftp", "ftp://files.example", "*", "move"},
		{`from: "ftps://brand@files.example:2121/~/out/o?.csv", remote: {password: "${KEY}", implicit: true, ca: ca.pem}`, "ftps", "ftps://brand@files.example:2121/~/out/", "o?.csv", "move"},
		{`from: "sftp://brand@files.example/out%20box/", match: "*.xml", after: delete, remote: {key: "${KEY}", host_keys: ["SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]}`, "sftp", "sftp://brand@files.example/out%20box/", "*.xml", "delete"},
		{`from: "s3://bucket/in/[a-c]*.csv", remote: {username: AKIA, password: "${KEY}", endpoint: "https://s3.example:9000/", region: eu-1}`, "s3", "s3://bucket/in/", "[a-c]*.csv", "move"},
		{`from: "drop/*.csv"`, "", "drop", "*.csv", "move"},
	}
	for _, c := range cases {
		t.Run(c.source, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "orders.yaml")
			write(t, file, fmt.Appendf(nil, "integration: orders\nrecord: {idempotency_key: body.id}\nsources:\n  - file: {every: \"* * * * *\", format: {csv: {}}, %s}\n", c.source))
			in, err := integration.Load(file, variables)
			if err != nil {
				t.Fatal(err)
			}
			f := in.Sources[0].File
			if f.Scheme() != c.scheme || f.From != c.from || f.Match != c.match || f.After != c.after {
				t.Errorf("scheme %q, from %q, match %q, after %q; want %q, %q, %q, %q", f.Scheme(), f.From, f.Match, f.After, c.scheme, c.from, c.match, c.after)
			}
		})
	}
}
