#!/usr/bin/env bash
# Everything that has to hold: format, lints, documentation, and all tests against real parts.
#
# What it needs and lacks it installs where it may (Debian packages when it runs as root, Kafka and
# the clients into .cache/, which git ignores), or names in one line.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

# A command, and the Debian package that has it.
needed() {
    local missing=()
    command -v cc >/dev/null || missing+=(build-essential)
    command -v pkg-config >/dev/null || missing+=(pkg-config)
    pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
    command -v curl >/dev/null || missing+=(curl)
    command -v java >/dev/null || missing+=(default-jre-headless)
    command -v mvn >/dev/null || missing+=(maven)
    command -v npm >/dev/null || missing+=(nodejs npm)
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
    command -v jq >/dev/null || missing+=(jq)
    command -v chromium >/dev/null || missing+=(chromium)
    command -v nginx >/dev/null || missing+=(nginx-light)
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing+=(libnginx-mod-stream)
    command -v haproxy >/dev/null || missing+=(haproxy)
    command -v go >/dev/null || missing+=(golang-go)
    command -v promtool >/dev/null || missing+=(prometheus)
    echo "${missing[@]}"
}

missing=$(needed)
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $missing"
        apt-get update -qq
        # shellcheck disable=SC2086 # a list of packages
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing \
            >/dev/null
    else
        echo "scripts/test.sh: install these first: $missing" >&2
        exit 1
    fi
fi
if ! command -v cargo >/dev/null; then
    echo "scripts/test.sh: install Rust 1.90 or later first (cargo is not here)" >&2
    exit 1
fi

say "format"
cargo fmt --check
say "lints"
cargo clippy --locked --all-targets -- -D warnings
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet

if [ -x scripts/clients.sh ]; then
    say "clients"
    scripts/clients.sh
fi

say "tests"
cargo test --locked --lib --bins --test it
cargo test --locked --doc
say "tests that want the machine for themselves"
cargo test --locked --test soak -- --test-threads 1
exec cargo test --locked --test alone -- --test-threads 1
