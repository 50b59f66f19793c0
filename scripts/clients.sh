#!/usr/bin/env bash
# Installs the clients that the tests read with, in the versions that tests/clients/ lists, into
# .cache/clients/ (which git ignores). Does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

lists=tests/clients
into=.cache/clients
fail() { echo "scripts/clients.sh: $*" >&2; exit 1; }

for tool in python3 npm cargo sha256sum; do
    command -v $tool >/dev/null || fail "install $tool first"
done

crate=$lists/eventsource_client_rs

wanted=$({ cat $lists/requirements*.txt $lists/package.json $crate/Cargo.lock $crate/src/main.rs
           cat scripts/clients.sh; python3 --version; } | sha256sum)
if [ "$(cat $into/stamp 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi
rm -rf $into
mkdir -p $into
log=$into/log
pip() { $into/venv/bin/python -m pip install --quiet --no-deps "$@" >>$log 2>&1; }

python3 -m venv $into/venv >>$log 2>&1 || fail "no virtual environment, see $log"
pip -r $lists/requirements.txt || fail "the Python clients cannot be had, see $log"
# sseclient and sseclient-py have the same module name: one of them lives in a folder of its own.
pip --target $into/sseclient -r $lists/requirements-sseclient.txt \
    || fail "sseclient cannot be had, see $log"
cp $lists/package.json $into/
npm --prefix $into install --no-package-lock --ignore-scripts --no-audit --no-fund >>$log 2>&1 \
    || fail "the npm clients cannot be had, see $log"
cargo build --quiet --locked --manifest-path $crate/Cargo.toml --target-dir $into/target \
    >>$log 2>&1 || fail "the crates.io client cannot be built, see $log"
mv $into/target/debug/eventsource-client-reader $into/
rm -r $into/target
echo "$wanted" >$into/stamp
