// Package compose holds docker-compose.yml and deploy/Dockerfile against the real
// binaries, because not every machine has a Docker daemon: every key, command,
// flag, port, variable and file that they name exists, and every value is one
// that the binary takes.
package compose
