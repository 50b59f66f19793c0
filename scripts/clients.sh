#!/usr/bin/env bash
# Installs the clients that the tests read with, in the versions that tests/clients/ lists, into
# .cache/clients/ (which git ignores). Does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

lists=tests/clients
into=.cache/clients
log=$into/log
fail() { echo "scripts/clients.sh: $*" >&2; exit 1; }
# A step, with an end to it also where a registry does not answer: seconds, what is missing else, a
# command.
step() {
    timeout --kill-after 10 "$1" "${@:3}" >>$log 2>&1 ||
        fail "$2; $log says: $(grep -im 1 error $log || echo "nothing for $1 s")"
}

for tool in python3 npm cargo sha256sum flock; do
    command -v $tool >/dev/null || fail "install $tool first"
done

# One at a time.
mkdir -p .cache
exec 9>.cache/clients.lock
flock 9

crate=$lists/eventsource_client_rs

wanted=$({ cat $lists/requirements*.txt $lists/package.json $crate/Cargo.lock $crate/src/*.rs
           cat scripts/clients.sh; python3 --version; } | sha256sum)
if [ "$(cat $into/stamp 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
rm -rf $into
mkdir -p $into
pip="$into/venv/bin/python -m pip install --quiet --no-deps"

step 120 "no virtual environment" python3 -m venv $into/venv
step 300 "the Python clients cannot be had" $pip -r $lists/requirements.txt
# sseclient and sseclient-py have the same module name: one of them lives in a folder of its own.
step 300 "sseclient cannot be had" \
    $pip --target $into/sseclient -r $lists/requirements-sseclient.txt
cp $lists/package.json $into/
step 300 "the npm clients cannot be had" \
    npm --prefix $into install --no-package-lock --ignore-scripts --no-audit --no-fund
step 900 "the crates.io clients cannot be built" \
    cargo build --quiet --locked --manifest-path $crate/Cargo.toml --target-dir $into/target
mv $into/target/debug/{eventsource-client-reader,reqwest-eventsource-reader,snippet} $into/
rm -r $into/target
echo "$wanted" >$into/stamp
