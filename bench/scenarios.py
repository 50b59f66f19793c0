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
    without: str = ""  # run before it, for the ratio of the two latencies
    replay: int = 0  # events that are written first and then read from the beginning
    crowds: int = 0  # how often as many readers come, are written to and go, before it
    gzip: bool = False  # for servers that compress: the streams are gzip
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
    Goal("server.us_per_delivery", 0.05, "kafkasse"),
)
LATENCY_GOALS = (
    Goal("latency_us.p50", 1.1, "floor"),
    Goal("latency_us.p99", 1.1, "floor"),
    Goal("latency_us.p50", 1.1, "floor-synced"),
    Goal("latency_us.p99", 1.1, "floor-synced"),
)
PEERS_GOALS = tuple(
    Goal(key, 1.0, peer) for key in ("latency_us.p50", "latency_us.p99")
    for peer in ("nchan", "durable-streams", "mercure", "kafkasse"))
MEMORY = (Metric("server.private_bytes_per_stream", "private bytes per reader"),)
MEMORY_GOALS = (Goal("server.private_bytes_per_stream", READER_BYTES_MAX),)

SCENARIOS = (
    Scenario("cpu-1000", "1,000 readers, 30 events/s of 1.2 KB, one event a write",
             "-n 1000 --write 30 --size 1200", CPU + LATENCY, goals=CPU_GOALS),
    Scenario("cpu-10000", "10,000 readers, 5 events/s of 1.2 KB, one event a write",
             "-n 10000 --write 5 --size 1200", CPU + LATENCY, goals=CPU_GOALS + (
                 Goal("server.us_per_delivery", 1.2, "floor", server="tidegate-kafka"),)),
    Scenario("in-flight-8", "1,000 readers, 8 writers that write again as soon as they are "
             "answered, 1.2 KB",
             "-n 1000 --write 1000000 --writers 8 --size 1200",
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
             seconds=1, goals=(Goal("connects.per_s", 20_000, better="more"),
                               Goal("connects.first_byte_us.p99", 40_000))),
    Scenario("joining-5000", "5,000 readers that come at 1,000 a second while 20 events/s of "
             "1.2 KB are written",
             "-n 5000 --connect-rate 1000 --write 20 --write-early --size 1200",
             (Metric("first_latency_us.p50", "first event p50 µs"),
              Metric("first_latency_us.p99", "first event p99 µs")), seconds=2,
             goals=(Goal("first_latency_us.p99", 50_000),)),
    Scenario("latency-1000x50x256", "1,000 readers, 50 events/s of 256 B",
             "-n 1000 --write 50 --size 256", LATENCY, goals=LATENCY_GOALS + PEERS_GOALS),
    Scenario("latency-1000x30x1200", "1,000 readers, 30 events/s of 1.2 KB",
             "-n 1000 --write 30 --size 1200", LATENCY, goals=LATENCY_GOALS + PEERS_GOALS),
    Scenario("stalled-500", "150 events/s of 1.2 KB to 1,000 readers, 500 of which never read; "
             "against the other 500 alone",
             "-n 1000 --stall 500 --write 150 --size 1200",
             (Metric("without.p99_ratio", "p99, as a multiple of p99 without them"),
              Metric("kernel.bytes_per_stalled", "kernel bytes per stalled reader"))
             + LATENCY, without="-n 500 --write 150 --size 1200",
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
    Scenario("replay", "100,000 events of 1.2 KB read from the beginning by one reader",
             "-n 1", (Metric("deliveries.per_s", "events/s", "more"),) + CPU,
             replay=100_000, seconds=120, goals=(
                 Goal("deliveries.per_s", 200_000, better="more"),
                 Goal("deliveries.per_s", 100_000, better="more", server="tidegate-kafka"))),
    Scenario("replay-10", "100,000 events of 1.2 KB read from the beginning by ten readers",
             "-n 10", (Metric("deliveries.per_s", "deliveries/s", "more"),) + CPU
             + (Metric("server.private_open_kb", "private KB at its end"),),
             replay=100_000, seconds=120,
             goals=(Goal("deliveries.per_s", 500_000, better="more"),)),
)
