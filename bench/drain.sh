#!/usr/bin/env bash
# One of two gateways over one Kafka goes out of service under many readers: what they feel.
#
#   bench/drain.sh [READERS [SPREAD_S]] > table      (twice READERS descriptors are needed)
#
# The drill is `tests/it/drain/readers.rs`, which fails where one event is lost or comes again.
set -euo pipefail
cd "$(dirname "$0")/.."
ulimit -n "$(ulimit -Hn)"
READERS=${1:-9000} SPREAD_S=${2:-10} cargo test --release --test it -- \
    --ignored --exact --nocapture drain::readers::measured | grep '^|'
