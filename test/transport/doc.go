// Package transport holds the promises of the places where partners leave files
// (package remote of ingest) on real servers: FTP and FTPS on pyftpdlib, which
// scripts/setup installs, SFTP on a server of pkg/sftp, S3 on gofakes3, HTTP on
// net/http. Between them and us stands a fault proxy that cuts, stalls, resets and
// slows transfers, and behind that a counter of what the server sent.
package transport
