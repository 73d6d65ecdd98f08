#!/bin/sh
# Regenerates the Go code of the contracts. Both tools are pinned, so the same
# .proto gives the same bytes, header included; CI runs this and looks at the diff.
# Needs npm and go; what it installs stays in a folder of its own, kept in the user's cache.
set -eu

buf_version=1.75.0
plugin_version=v1.36.12

cd "$(dirname "$0")"
tools="${XDG_CACHE_HOME:-$HOME/.cache}/waybill/proto-$buf_version-$plugin_version"
mkdir -p "$tools"

if [ ! -x "$tools/bin/protoc-gen-go" ]; then
  GOBIN="$tools/bin" go install "google.golang.org/protobuf/cmd/protoc-gen-go@$plugin_version"
fi
if [ ! -x "$tools/node_modules/.bin/buf" ]; then
  npm install --silent --no-fund --no-audit --prefix "$tools" "@bufbuild/buf@$buf_version"
fi

PATH="$tools/bin:$tools/node_modules/.bin:$PATH"
export PATH
buf lint
buf generate
gofmt -l waybill
