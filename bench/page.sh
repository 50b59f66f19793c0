#!/usr/bin/env bash
# Measures how evenly the live page is drawn while events arrive, and writes bench/results/page.md.
#
#     bench/page.sh [PROGRAM [EVENTS_A_SECOND [SECONDS]]]    default: target/release/tidegate 500 20
#
# The gateway (embedded log), the writer and Debian's Chromium without a window or a graphics card
# share this machine; so the numbers are worse than those of a person's computer.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:-target/release/tidegate}
rate=${2:-500}
seconds=${3:-20}
[ -x "$program" ] || { echo "bench/page.sh: build $program first" >&2; exit 1; }
scripts/clients.sh
dir=$(mktemp -d)
cat >"$dir/config.toml" <<END
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[embedded]
data_dir = "$dir/log"
[streams.recentchange]
topics = ["eqiad.mediawiki.recentchange"]
aliases = ["mediawiki.recentchange"]
[intake]
enabled = true
END
"$program" serve --config "$dir/config.toml" >"$dir/out" 2>"$dir/err" &
gateway=$!
trap 'kill $gateway; wait $gateway || true; rm -r "$dir"' EXIT
sleep 2
address=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$dir/out" | head -n 1)
export NODE_PATH=$PWD/.cache/clients/node_modules
script=$PWD/bench/page.cjs
results=bench/results/page.md
{
    echo "# page"
    echo
    echo "* command: \`bench/page.sh PROGRAM $rate $seconds\`"
    echo "* commit: $(git rev-parse --short HEAD)"
    echo "* date: $(date -u '+%F %H:%M UTC')"
    echo "* machine: $(grep -m 1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs), $(nproc) cores," \
        "kernel $(uname -r); load before: $(cut -d' ' -f1-3 /proc/loadavg)"
    echo "* browser: $(chromium --version 2>/dev/null | xargs), headless, drawn by the processor; the" \
        "gateway and the writer on the same machine"
    echo "* $rate events a second, $seconds s for each scene; a frame's time is the distance to the" \
        "one before"
    echo
    # Its stdin stays open: the browser ends with it.
    mkfifo "$dir/open"
    (cd "$dir" && node "$script" "$address" "$rate" "$seconds" <>"$dir/open")
} >"$dir/page.md"
cp "$dir/page.md" $results
cat $results
