#!/usr/bin/env bash
# Measures everything that docs/performance.md tells, the most important first; about 45 minutes on
# a quiet machine of two cores, and 25 more for the last four. With names: only those.
#
#   bench/setup.sh && bench/all.sh [NAME …] && bench/report.py
set -uo pipefail
cd "$(dirname "$0")/.."
wanted=" $* "

# NAME, SCENARIOS, SERVERS, ROUNDS, further words.
measure() {
    local name=$1 only=$2 servers=$3 rounds=$4
    shift 4
    [ "$wanted" = "  " ] || [[ $wanted == *" $name "* ]] || return 0
    bench/run.py --name "$name" --only "$only" --servers "$servers" --rounds "$rounds" "$@"
}

floors=floor,floor-synced,tidegate
peers=nchan,durable-streams,mercure

measure streams cpu-1000 $floors,$peers 9 --seconds 3                          # 5 min
measure connects connects-5000 floor,tidegate,durable-streams 9                # 1.5 min
measure stalled stalled-500 tidegate 9 --seconds 4                             # 3.5 min
measure latency latency-1000x50x256 $floors,$peers 9 --seconds 3               # 5 min
measure fanout fanout-5000x30 $floors 9 --seconds 3                            # 3.5 min
measure crowd cpu-10000 floor,tidegate,$peers 9 --seconds 2                    # 6 min
measure in-flight in-flight-8 floor-coalescing,tidegate 9 --seconds 3          # 1.5 min
measure large fanout-18000x30 floor-coalescing,tidegate 3 --seconds 4          # 1.5 min
measure joining joining-5000 floor,tidegate 5                                  # 1.5 min
measure lifetimes lifetimes-10000 tidegate 1                                   # 3 min
measure crowd-kafka cpu-10000-kafka floor,floor-beside-kafka,tidegate-kafka 9 --seconds 4  # 6 min
measure replay replay,replay-10 tidegate 9                                     # 3 min
measure replay-1000 replay-1000 tidegate,tidegate-kafka 2                      # 3 min
measure fetched fetched-10000 tidegate-kafka 2                                 # 2 min
measure gzip gzip-demo tidegate 2                                              # 2.5 min
measure churn churn-10000 tidegate 2                                           # 1.5 min
measure idle idle-memory-10000 floor,tidegate 3 --seconds 1                    # 1 min
measure pressure fanout-5000x200 floor-coalescing,tidegate 9 --seconds 3       # 2.5 min
# What needs no quiet, or much time.
measure kafka cpu-1000-kafka floor,tidegate-kafka,kafkasse 3 --seconds 5
measure replay-kafka replay-kafka,replay-10-kafka tidegate-kafka,kafkasse 2 --seconds 25
measure shared gzip-1000,gzip-demo-2000 tidegate 3
measure lifetimes-long lifetimes-10000-long tidegate 1
