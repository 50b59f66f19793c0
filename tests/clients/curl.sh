#!/usr/bin/env bash
# curl: reads one response. The shell around it keeps the last id and sends it back.
set -uo pipefail

url=$1
place='.*"meta":\{[^}]*"topic":"([^"]+)","partition":([0-9]+),"offset":([0-9]+).*'
exec 3<&0
# Ends this shell and its curl when stdin closes.
{ cat <&3 >/dev/null; kill -- -$$; } &

id=
while :; do
    while IFS= read -r line; do
        case $line in
            id:*) next=${line#id: } ;;
            data:*)
                # A line that the cut has shortened has no end, and `read` does not give it out.
                sed -E "s/$place/\\1 \\2 \\3/" <<<"$line"
                id=$next
                ;;
        esac
    done < <(curl -sN -H "Last-Event-ID: $id" "$url")
    sleep 0.1
done
