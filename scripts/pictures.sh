#!/usr/bin/env bash
# Makes the pictures of the live page and of the documentation in docs/pictures/, from a demo of its own on free ports, with
# Debian's Chromium and the fonts of this machine. The demo runs for two minutes before, so that
# the chart is full.
#
#     scripts/pictures.sh [PROGRAM]        default: target/release/tidegate
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-target/release/tidegate}
[ -x "$program" ] || { echo "scripts/pictures.sh: build $program first" >&2; exit 1; }
scripts/clients.sh
dir=$(mktemp -d)
"$program" serve --demo --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data-dir "$dir/log" \
    >"$dir/out" 2>"$dir/err" &
demo=$!
trap 'kill $demo; wait $demo || true; rm -r "$dir"' EXIT
sleep 125
address=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$dir/out" | head -n 1)
export NODE_PATH=$PWD/.cache/clients/node_modules
script=$PWD/tests/clients/ui_pictures.cjs
pictures=$PWD/docs/pictures
# Its stdin stays open: the browser ends with it.
mkfifo "$dir/open"
(cd "$dir" && node "$script" "$address" "$pictures" <>"$dir/open") || { cat "$dir/err" >&2; exit 1; }
