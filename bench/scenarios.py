"""The scenarios, in one place: what is asked of `tidegate load`, and which numbers count."""

from dataclasses import dataclass

# Memory in the pump, and for the books of the gate and the admin port.
READER_BYTES_MAX = 128 + 128

@dataclass(frozen=True)
class Metric:
    """A number of a summary."""

    key: str  # path in the summary, with dots
    title: str
    better: str = "less"  # or "more"


@dataclass(frozen=True)
class Goal:
    """What Tidegate is to reach: the median of a metric, or of its ratio to another server's."""

    key: str
    limit: float
    of: str = ""  # the server that it is a multiple of; empty: it is the number itself
    better: str = "less"
    server: str = "tidegate"


@dataclass(frozen=True)
class Scenario:
    name: str
    what: str
    load: str  # arguments of `tidegate load`
    metrics: tuple
    floor: str = "floor"  # which of the two floors the others are held against
    seconds: int = 10
    without: str = ""  # run before it, to be compared with
    replay: int = 0  # events that are written first and then read from the beginning
    crowds: int = 0  # how often as many readers come, are written to and go, before it
    gzip: bool = False  # for servers that compress: the streams are gzip
    demo: bool = False  # the events are those that Tidegate makes up for trying it out
    settings: str = ""  # further lines of Tidegate's configuration
    servers: tuple = ()  # those that it is about; none: all
    goals: tuple = ()


CPU = (
    Metric("server.us_per_delivery", "CPU µs per delivery"),
    Metric("cpu.us_per_delivery", "the generator's CPU µs per delivery"),
)
LATENCY = (
    Metric("latency_us.p50", "p50 µs"),
    Metric("latency_us.p99", "p99 µs"),
)
CPU_GOALS = (
    Goal("server.us_per_delivery", 1.1, "floor"),
    Goal("server.us_per_delivery", 0.7, "durable-streams"),
    Goal("server.us_per_delivery", 0.7, "nchan"),
    Goal("server.us_per_delivery", 0.35, "mercure"),
)
LATENCY_GOALS = (
    Goal("latency_us.p50", 1.1, "floor"),
    Goal("latency_us.p99", 1.1, "floor"),
    Goal("latency_us.p50", 1.1, "floor-synced"),
    Goal("latency_us.p99", 1.1, "floor-synced"),
)
PEERS_GOALS = tuple(
    Goal(key, 1.0, peer) for key in ("latency_us.p50", "latency_us.p99")
    for peer in ("nchan", "durable-streams", "mercure"))
MEMORY = (Metric("server.private_bytes_per_stream", "private bytes per reader"),)
MEMORY_GOALS = (Goal("server.private_bytes_per_stream", READER_BYTES_MAX),)
# Those that are written to themselves; and those that read what others have written to Kafka.
IN_MEMORY_OR_ON_DISK = ("floor", "floor-synced", "tidegate", "nchan", "durable-streams", "mercure")
OVER_KAFKA = ("tidegate-kafka", "kafkasse")
FROM_KAFKA = ("floor", "floor-beside-kafka", *OVER_KAFKA)

REPLAY = (Metric("deliveries.per_s", "events/s", "more"),) + CPU + (
          Metric("server.private_more_kb", "more private KB at its end"),)
# Memory, and nobody who is behind for long.
LIFETIMES = (Metric("server.private_growth", "private memory at its end, as a multiple of that at "
                    "its begin"),
             Metric("connects.opened", "streams opened, each time counted", "more")) + LATENCY + (
             Metric("latency_us.max", "the latest event, µs"),)
LIFETIMES_GOALS = (Goal("server.private_growth", 1.1), Goal("latency_us.max", 1_000_000))

GZIP_DEMO = {
    "metrics": (Metric("bytes.inflated_per_byte", "times smaller", "more"),
                Metric("server.cpu_s", "CPU s"),
                Metric("without.cpu_more_s", "CPU s more than without gzip")),
    "gzip": True, "demo": True, "servers": ("tidegate",), "seconds": 30,
    "goals": (Goal("bytes.inflated_per_byte", 4, better="more"),),
}

SCENARIOS = (
    Scenario("cpu-1000", "1,000 readers, 30 events/s of 1.2 KB, one event a write",
             "-n 1000 --write 30 --size 1200", CPU + LATENCY, servers=IN_MEMORY_OR_ON_DISK,
             goals=CPU_GOALS + LATENCY_GOALS + PEERS_GOALS),
    Scenario("cpu-10000", "10,000 readers, 5 events/s of 1.2 KB, one event a write",
             "-n 10000 --write 5 --size 1200", CPU + LATENCY, servers=IN_MEMORY_OR_ON_DISK,
             goals=CPU_GOALS),
    Scenario("cpu-1000-kafka", "1,000 readers, 30 events/s of 1.2 KB, from Kafka",
             "-n 1000 --write 30 --size 1200", CPU + LATENCY, servers=FROM_KAFKA, goals=(
                 Goal("server.us_per_delivery", 0.05, "kafkasse", server="tidegate-kafka"),)),
    Scenario("cpu-10000-kafka", "10,000 readers, 5 events/s of 1.2 KB, from Kafka",
             "-n 10000 --write 5 --size 1200", CPU + LATENCY, servers=FROM_KAFKA, goals=(
                 Goal("server.us_per_delivery", 1.2, "floor", server="tidegate-kafka"),)),
    Scenario("in-flight-8", "1,000 readers, 8 writers that write again as soon as they are "
             "answered, 1.2 KB",
             "-n 1000 --write 1000000 --writers 8 --size 1200 --drain 60",
             CPU + (Metric("deliveries.per_s", "deliveries/s", "more"),), "floor-coalescing",
             goals=(Goal("server.us_per_delivery", 1.1, "floor-coalescing"),)),
    Scenario("idle-memory-10000", "10,000 readers, no events", "-n 10000", MEMORY, seconds=5,
             goals=MEMORY_GOALS),
    Scenario("churn-10000", "10,000 readers, no events, after 4 × 10,000 that came, were written "
             "to and went; against the memory before them all",
             "-n 10000", MEMORY + (Metric("crowds.kept_bytes_per_stream",
                                          "private bytes per reader that has gone"),),
             seconds=3, crowds=4, goals=MEMORY_GOALS),
    Scenario("connects-5000", "5,000 connects, as fast as they are answered, 256 under way",
             "-n 5000 --connect-rate 1000000 --connecting 256",
             (Metric("connects.per_s", "connects/s", "more"),
              Metric("connects.first_byte_us.p99", "first byte p99 µs")),
             seconds=1, servers=("floor", "tidegate", "durable-streams", "nchan", "mercure"),
             goals=(Goal("connects.per_s", 20_000, better="more"),
                    Goal("connects.first_byte_us.p99", 40_000))),
    Scenario("joining-5000", "5,000 readers that come at 1,000 a second while 20 events/s of "
             "1.2 KB are written",
             "-n 5000 --connect-rate 1000 --write 20 --write-early --size 1200",
             (Metric("first_latency_us.p50", "first event p50 µs"),
              Metric("first_latency_us.p99", "first event p99 µs")), seconds=2,
             goals=(Goal("first_latency_us.p99", 50_000),)),
    Scenario("latency-1000x50x256", "1,000 readers, 50 events/s of 256 B",
             "-n 1000 --write 50 --size 256", LATENCY, servers=IN_MEMORY_OR_ON_DISK, goals=LATENCY_GOALS + PEERS_GOALS),
    Scenario("stalled-500", "150 events/s of 1.2 KB to 1,000 readers, 500 of which never read, "
             "when their buffers are full; against the other 500 alone",
             "-n 1000 --stall 500 --write 150 --size 1200 --warm-up 4",
             (Metric("without.p99_ratio", "p99, as a multiple of p99 without them"),
              Metric("without.p50_ratio", "p50, as a multiple of p50 without them"),
              Metric("kernel.bytes_per_stalled", "kernel bytes per stalled reader"))
             + LATENCY, without="-n 500 --write 150 --size 1200 --warm-up 4",
             goals=(Goal("without.p99_ratio", 1.2),
                    Goal("kernel.bytes_per_stalled", 32 * 1024))),
    Scenario("fanout-5000x30", "5,000 readers, 30 events/s of 1.2 KB",
             "-n 5000 --write 30 --size 1200", LATENCY + CPU, goals=LATENCY_GOALS),
    Scenario("fanout-5000x200", "5,000 readers, 200 events/s of 1.2 KB",
             "-n 5000 --write 200 --size 1200",
             (Metric("deliveries.per_s", "deliveries/s", "more"),) + LATENCY + CPU,
             "floor-coalescing",
             goals=(Goal("deliveries.per_s", 0.9, "floor-coalescing", "more"),)),
    Scenario("fanout-18000x30", "18,000 readers, 30 events/s of 1.2 KB",
             "-n 18000 --write 30 --size 1200",
             (Metric("latency_us.max", "the latest event, µs"),
              Metric("deliveries.per_s", "deliveries/s", "more")) + LATENCY + CPU + MEMORY,
             "floor-coalescing", goals=(Goal("latency_us.max", 1_000_000),)),
    Scenario("gzip-1000", "1,000 readers of gzip, 30 events/s of 1.2 KB; against as many without",
             "-n 1000 --write 30 --size 1200",
             (Metric("bytes.inflated_per_byte", "times smaller", "more"),
              Metric("server.cpu_s", "CPU s"),
              Metric("without.cpu_ratio", "CPU, as a multiple of that without gzip")),
             without="-n 1000 --write 30 --size 1200", gzip=True),
    Scenario("gzip-demo", "100 readers of gzip, the demo's events as they come (some 25/s); "
             "against as many without",
             "-n 100", **GZIP_DEMO, without="-n 100"),
    Scenario("gzip-demo-2000", "the same with 2,000 readers",
             "-n 2000", **GZIP_DEMO, without="-n 2000"),
    Scenario("replay", "100,000 events of 1.2 KB read from the beginning by one reader",
             "-n 1", REPLAY, replay=100_000, seconds=120, servers=("tidegate",),
             goals=(Goal("deliveries.per_s", 200_000, better="more"),)),
    Scenario("replay-10", "100,000 events of 1.2 KB read from the beginning by ten readers",
             "-n 10", REPLAY, replay=100_000, seconds=120, servers=("tidegate",),
             goals=(Goal("deliveries.per_s", 500_000, better="more"),
                    Goal("server.private_more_kb", 64 * 1024))),
    Scenario("replay-kafka", "50,000 events of 1.2 KB read from the beginning of Kafka's log by one "
             "reader", "-n 1", REPLAY, replay=50_000, seconds=60, servers=OVER_KAFKA,
             goals=(Goal("deliveries.per_s", 100_000, better="more", server="tidegate-kafka"),)),
    Scenario("replay-10-kafka", "the same by ten readers", "-n 10", REPLAY, replay=50_000,
             seconds=60, servers=OVER_KAFKA, goals=(
                 Goal("deliveries.per_s", 500_000, better="more", server="tidegate-kafka"),
                 Goal("server.private_more_kb", 64 * 1024, server="tidegate-kafka"))),
    Scenario("replay-1000", "20,000 events of 1.2 KB read from the beginning by a thousand readers, "
             "none of them in memory; against one",
             "-n 1000", (Metric("without.reads_ratio", "reads of the source, as a multiple of one's"),
                         Metric("history.reads", "reads of the source"),
                         Metric("deliveries.per_s", "deliveries/s", "more"),
                         Metric("server.private_more_kb", "more private KB at its end")),
             without="-n 1", replay=20_000, seconds=240, servers=("tidegate", "tidegate-kafka"),
             goals=(Goal("without.reads_ratio", 1.2),
                    Goal("without.reads_ratio", 1.2, server="tidegate-kafka"))),
    Scenario("fetched-10000", "bytes that come from Kafka for an event, with 10,000 readers, "
             "10 events/s of 1.2 KB; against one reader",
             "-n 10000 --write 10 --write-early --size 1200",
             (Metric("without.fetched_ratio", "bytes fetched per event, as a multiple of one's"),
              Metric("fetched.bytes_per_event", "bytes fetched per event")),
             without="-n 1 --write 10 --write-early --size 1200", servers=("tidegate-kafka",),
             seconds=10, goals=(Goal("without.fetched_ratio", 1.05, server="tidegate-kafka"),)),
    Scenario("lifetimes-10000", "10,000 readers whose streams last 8 to 10 s and come again, "
             "5 events/s of 1.2 KB, for 2 min",
             "-n 10000 --again --resume --write 5 --size 1200 --warm-up 40", LIFETIMES, seconds=120,
             settings="[session]\nlifetime_s = 10\n", servers=("tidegate",),
             goals=LIFETIMES_GOALS),
    Scenario("lifetimes-10000-long", "10,000 readers whose streams last 48 to 60 s and come again, "
             "5 events/s of 1.2 KB, for 10 min",
             "-n 10000 --again --resume --write 5 --size 1200 --warm-up 60", LIFETIMES, seconds=600,
             settings="[session]\nlifetime_s = 60\n", servers=("tidegate",),
             goals=LIFETIMES_GOALS),
)
