#!/usr/bin/env bash
# `tidegate tail`: goes on by itself. $TIDEGATE: the program.
set -uo pipefail

place='.*"meta":\{[^}]*"topic":"([^"]+)","partition":([0-9]+),"offset":([0-9]+).*'
exec 3<&0
# Ends it when stdin closes.
{ cat <&3 >/dev/null; kill -- -$$; } &

"$TIDEGATE" tail --quiet "$1" | sed -uE "s/$place/\\1 \\2 \\3/"
