#!/usr/bin/env bash
# curl: reads one compressed response and says each event as it comes, and `whole` after a clean
# end. Arguments: the URL, what to ask for.
set -uo pipefail

exec 3<&0
# Ends this shell and its curl when stdin closes.
{ cat <&3 >/dev/null; kill -- -$$; } &

place='.*"meta":\{[^}]*"topic":"([^"]+)","partition":([0-9]+),"offset":([0-9]+).*'
if curl -sSfN --compressed -H "Accept-Encoding: $2" "$1" \
    | sed -uEn "s/^data: $place/\\1 \\2 \\3/p"; then
    echo whole
fi
# The watch at stdin is still there.
kill -- -$$
