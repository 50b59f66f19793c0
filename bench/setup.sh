#!/usr/bin/env bash
# Builds what the bench runs: Tidegate, the floor, and the peers, these into .cache/bench, which git
# ignores. What is there already stays. A peer that cannot be had is named in one line, and the
# bench goes on without it.
set -uo pipefail
cd "$(dirname "$0")/.."
here=$PWD
cache=$here/.cache/bench
mkdir -p "$cache"

say() { printf '== %s\n' "$*"; }
without() { echo "bench/setup.sh: without $1: $2" >&2; }

# Runs a command into a log; the log's name is all that is said when it fails.
quietly() {
    local log=$cache/$1.log
    shift
    "$@" >"$log" 2>&1 </dev/null
}

tidegate() {
    say "Tidegate and the floor"
    cargo build --locked --release &&
        cargo build --locked --release --manifest-path bench/floor/Cargo.toml
}

nchan() {
    [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] && return
    say "nchan"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        without nchan "install nginx and libnginx-mod-nchan (Debian's packages)"
        return
    fi
    quietly nchan sh -c "apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends nginx libnginx-mod-nchan iproute2" ||
        without nchan "see $cache/nchan.log"
}

durable_streams() {
    [ -x "$cache/durable-streams/bin/durable-streams-server" ] && return
    say "durable-streams"
    quietly durable-streams cargo install --locked --root "$cache/durable-streams" \
        --target-dir "$cache/target" durable-streams --version 0.1.5 ||
        without durable-streams "see $cache/durable-streams.log"
}

mercure() {
    [ -x "$cache/mercure" ] && return
    say "Mercure"
    command -v go >/dev/null || { without mercure "go is not here"; return; }
    quietly mercure go build -C bench/peers/mercure -o "$cache/mercure" . ||
        without mercure "see $cache/mercure.log"
}

kafka() {
    ls "$here"/.cache/kafka/libs/kafka_*.jar >/dev/null 2>&1 && return
    say "Kafka"
    command -v java >/dev/null && command -v mvn >/dev/null ||
        { without Kafka "java and mvn are needed"; return; }
    quietly kafka mvn -q -B -f tests/it/support/kafka/pom.xml dependency:copy-dependencies \
        "-DoutputDirectory=$here/.cache/kafka/libs" -DincludeScope=runtime ||
        without Kafka "see $cache/kafka.log"
}

# Its Kafka client is built from source, with Node's headers beside Node.
kafkasse() {
    local folder=$cache/kafkasse headers
    [ -e "$folder/node_modules/node-rdkafka/build/Release/node-librdkafka.node" ] && return
    say "KafkaSSE"
    command -v npm >/dev/null || { without KafkaSSE "npm is not here"; return; }
    mkdir -p "$folder"
    cp bench/peers/kafkasse/package.json "$folder/"
    headers=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
    [ -e "$headers/include/node/node.h" ] && export npm_config_nodedir=$headers
    (cd "$folder" && quietly kafkasse timeout 600 npm install --no-audit --no-fund)
    [ -e "$folder/node_modules/node-rdkafka/build/Release/node-librdkafka.node" ] ||
        without KafkaSSE "node-rdkafka was not built, see $cache/kafkasse.log"
}

tidegate || exit 1
nchan
durable_streams
mercure
kafka
kafkasse
say "bench/run.py --name NAME"
