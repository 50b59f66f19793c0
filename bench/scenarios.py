"""The scenarios, in one place: what is asked of `tidegate load`, and which numbers count."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A number of a summary."""

    key: str  # path in the summary, with dots
    title: str
    better: str = "less"  # or "more"


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


CPU = (
    Metric("server.us_per_delivery", "CPU µs per delivery"),
    Metric("cpu.us_per_delivery", "the generator's CPU µs per delivery"),
)
LATENCY = (
    Metric("latency_us.p50", "p50 µs"),
    Metric("latency_us.p99", "p99 µs"),
)

SCENARIOS = (
    Scenario("cpu-1000", "1,000 readers, 30 events/s of 1.2 KB, one event a write",
             "-n 1000 --write 30 --size 1200", CPU + LATENCY),
    Scenario("cpu-10000", "10,000 readers, 5 events/s of 1.2 KB, one event a write",
             "-n 10000 --write 5 --size 1200", CPU + LATENCY),
    Scenario("in-flight-8", "1,000 readers, 8 writers that write again as soon as they are "
             "answered, 1.2 KB",
             "-n 1000 --write 1000000 --writers 8 --size 1200",
             CPU + (Metric("deliveries.per_s", "deliveries/s", "more"),), "floor-coalescing"),
    Scenario("idle-memory-10000", "10,000 readers, no events",
             "-n 10000", (Metric("server.private_bytes_per_stream", "private bytes per reader"),),
             seconds=5),
    Scenario("connects-5000", "5,000 connects, as fast as they are answered, 256 under way",
             "-n 5000 --connect-rate 1000000 --connecting 256",
             (Metric("connects.per_s", "connects/s", "more"),
              Metric("connects.first_byte_us.p99", "first byte p99 µs")),
             seconds=1),
    Scenario("latency-1000x50x256", "1,000 readers, 50 events/s of 256 B",
             "-n 1000 --write 50 --size 256", LATENCY),
    Scenario("latency-1000x30x1200", "1,000 readers, 30 events/s of 1.2 KB",
             "-n 1000 --write 30 --size 1200", LATENCY),
    Scenario("stalled-500", "150 events/s of 1.2 KB to 1,000 readers, 500 of which never read; "
             "against the other 500 alone",
             "-n 1000 --stall 500 --write 150 --size 1200",
             (Metric("without.p99_ratio", "p99, as a multiple of p99 without them"),
              Metric("kernel.bytes_per_stalled", "kernel bytes per stalled reader"))
             + LATENCY, without="-n 500 --write 150 --size 1200"),
    Scenario("fanout-5000x30", "5,000 readers, 30 events/s of 1.2 KB",
             "-n 5000 --write 30 --size 1200", LATENCY + CPU),
    Scenario("fanout-5000x200", "5,000 readers, 200 events/s of 1.2 KB",
             "-n 5000 --write 200 --size 1200",
             (Metric("deliveries.per_s", "deliveries/s", "more"),) + LATENCY + CPU,
             "floor-coalescing"),
    Scenario("replay", "100,000 events of 1.2 KB read from the beginning by one reader",
             "-n 1", (Metric("deliveries.per_s", "events/s", "more"),) + CPU,
             replay=100_000, seconds=120),
    Scenario("replay-10", "100,000 events of 1.2 KB read from the beginning by ten readers",
             "-n 10", (Metric("deliveries.per_s", "deliveries/s", "more"),) + CPU,
             replay=100_000, seconds=120),
)
