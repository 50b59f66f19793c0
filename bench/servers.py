"""The servers: how each is started on this host, and where it is read and written.

Each is one process (with its children) on loopback that is started for one measurement and ended
after it. To add one: a class with `name`, `start`, and what differs from `Server`.
"""

import base64
import hmac
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

from looks import metric, received_bytes

ROOT = pathlib.Path(__file__).resolve().parent.parent


# A port listens before workers are forked and have their memory.
SETTLING_S = 0.5


def free_port():
    """Below the range that outgoing connections take their ports from."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Server:
    """A server under test."""

    name = ""
    keeps_history = False
    # The server can send gzip.
    compresses = False
    # More streams than this are not asked of it.
    streams_max = 1_000_000
    # Arguments of `tidegate load`, besides those of the scenario.
    write_args = ()
    # Further lines of Tidegate's configuration, and whether it makes events up by itself.
    settings = ""
    with_demo = False
    # Events a second that the scenario writes.
    rate = None

    def __init__(self, binary=None):
        self.binary = binary
        self.process = None
        self.port = 0
        self.log = None

    def missing(self):
        """Why it cannot be run; empty: it can."""
        return "" if os.access(self.binary, os.X_OK) else f"{self.binary} is not there"

    def start(self, folder):
        raise NotImplementedError

    def spawn(self, folder, command):
        self.log = folder / "log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=folder)
        until = time.monotonic() + 30
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {self.log.read_text()[-2000:]}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                time.sleep(SETTLING_S)
                return
            except OSError:
                if time.monotonic() > until:
                    raise RuntimeError(f"{self.name} does not listen") from None
                time.sleep(0.05)

    def stop(self):
        if self.process is None:
            return
        pids = self.pids()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait()
        self.process = None

    def pids(self):
        """The process and its descendants."""
        found, left = [], [self.process.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    left += [int(child) for child in children.read_text().split()]
                except OSError:
                    pass
        return found

    @property
    def base(self):
        return f"http://127.0.0.1:{self.port}"

    def url(self):
        raise NotImplementedError

    def replay_url(self):
        raise NotImplementedError

    def restart(self, folder):
        """Ends it and starts it anew over what it has written there."""
        raise NotImplementedError

    def history_reads(self):
        """Range reads that went to the source so far; None: it does not say."""
        return None

    def fetched_bytes(self):
        """What came from Kafka so far; None: it does not read from there."""
        return None


class Tidegate(Server):
    """The gateway over its embedded log."""

    name = "tidegate"
    keeps_history = True
    compresses = True
    limits = "streams_per_client = 0\nopens_per_client_s = 0\n"

    def start(self, folder):
        # An event is written and synced before it is answered and shown; nothing waits for more.
        self.serve(folder, f'[embedded]\ndata_dir = "{folder}/data"\ncommit_interval_ms = 0\n')

    def serve(self, folder, source):
        self.port, self.admin_port = free_port(), free_port()
        what = ["--demo", "--data-dir", folder / "data"]
        if not self.with_demo:
            (folder / "tidegate.toml").write_text(
                f'{source}[streams.bench]\ntopics = ["bench"]\n'
                "[intake]\nenabled = true\n"
                f"[limits]\n{self.limits}{self.settings}")
            what = ["--config", folder / "tidegate.toml"]
        self.spawn(folder, [
            self.binary, "--log-level", "warn", "serve", *what,
            "--listen", f"127.0.0.1:{self.port}",
            "--admin-listen", f"127.0.0.1:{self.admin_port}"])

    def restart(self, folder):
        self.stop()
        self.start(folder)

    def history_reads(self):
        return metric(self.admin_port, "tidegate_history_reads_total")

    def url(self):
        return f"{self.base}/v2/stream/{'recentchange' if self.with_demo else 'bench'}"

    def replay_url(self):
        return f"{self.base}/v2/stream/bench?since=0"


class Floor(Server):
    """What the kernel charges (`bench/floor`)."""

    name = "floor"
    options = ()

    @property
    def write_args(self):
        return ("--write-to", self.base + "/")

    def start(self, folder):
        self.port = free_port()
        options = [option.format(folder=folder) for option in self.options]
        self.spawn(folder, [self.binary, "--listen", f"127.0.0.1:{self.port}", *options])

    def url(self):
        return f"{self.base}/"


class CoalescingFloor(Floor):
    """The same, with what piled up during a pass as one write."""

    name = "floor-coalescing"
    options = ("--coalesce",)


class SyncedFloor(Floor):
    """The same, with each event synced to a file before it is answered and delivered."""

    name = "floor-synced"
    options = ("--sync", "{folder}/events")


class Nchan(Server):
    """nginx with nchan, Debian's packages (nginx, libnginx-mod-nchan), one worker."""

    name = "nchan"
    modules = "/usr/lib/nginx/modules"

    def missing(self):
        module = f"{self.modules}/ngx_nchan_module.so"
        return super().missing() or ("" if os.path.exists(module) else f"{module} is not there")

    @property
    def write_args(self):
        return ("--write-to", f"{self.base}/pub")

    def start(self, folder):
        self.port = free_port()
        (folder / "nginx.conf").write_text(f"""
load_module {self.modules}/ngx_nchan_module.so;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/pid;
error_log stderr error;
{"user root;" if os.getuid() == 0 else ""}
events {{ worker_connections 19900; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 8m;
    client_body_buffer_size 64k;
    nchan_shared_memory_size 512m;
    server {{
        listen 127.0.0.1:{self.port} backlog=4096;
        location = /pub {{
            nchan_publisher;
            nchan_channel_id bench;
            nchan_message_buffer_length 100;
        }}
        location = /sub {{
            nchan_subscriber eventsource;
            nchan_channel_id bench;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
""")
        self.spawn(folder, [self.binary, "-p", folder, "-c", folder / "nginx.conf"])

    def url(self):
        return f"{self.base}/sub"


class DurableStreams(Server):
    """The Rust server of Durable Streams, as it comes: an event is synced before it is answered."""

    name = "durable-streams"
    keeps_history = True

    @property
    def write_args(self):
        return ("--write-to", f"{self.base}/bench")

    def start(self, folder):
        self.port = free_port()
        self.spawn(folder, [self.binary, "--port", self.port, "--data-dir", folder / "data"])
        # A stream is made before it is read.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("PUT", "/bench", headers={"content-type": "application/json"})
        if (status := connection.getresponse().status) >= 300:
            raise RuntimeError(f"{self.name} makes no stream: {status}")
        connection.close()

    def url(self):
        return f"{self.base}/bench?offset=now&live=sse"

    def replay_url(self):
        return f"{self.base}/bench?offset=-1&live=sse"


class Mercure(Server):
    """Mercure's hub over Go's HTTP server (bench/peers/mercure), its transport in memory."""

    name = "mercure"
    # {"mercure":{"publish":["*"]}}, signed with the key that is in bench/peers/mercure.
    key = b"bench-only-key-of-thirty-two-bytes"

    def token(self):
        def part(raw):
            return base64.urlsafe_b64encode(raw).rstrip(b"=")
        told = [{"alg": "HS256", "typ": "JWT"}, {"mercure": {"publish": ["*"]}}]
        text = b".".join(part(json.dumps(each).encode()) for each in told)
        return (text + b"." + part(hmac.digest(self.key, text, "sha256"))).decode()

    @property
    def write_args(self):
        return ("--write-to", f"{self.base}/.well-known/mercure",
                "--content-type", "application/x-www-form-urlencoded",
                "--write-header", f"authorization: Bearer {self.token()}",
                "--body", 'topic=bench&data={{mark},"pad":"{pad}"}')

    def start(self, folder):
        self.port = free_port()
        self.spawn(folder, [self.binary, f"127.0.0.1:{self.port}"])

    def url(self):
        return f"{self.base}/.well-known/mercure?topic=bench"


class OnKafka(Server):
    """What reads from an Apache Kafka (one node), which is not counted. A gateway of its own, not
    counted either, brings the writer's events there."""

    def __init__(self, binary, tidegate, libs):
        super().__init__(binary)
        self.kafka = Kafka(libs)
        self.intake = Tidegate(tidegate)

    def missing(self):
        return super().missing() or self.kafka.missing() or self.intake.missing()

    @property
    def write_args(self):
        return ("--write-to", f"{self.intake.base}/v1/events")

    def start(self, folder):
        if not self.kafka.is_up():
            (folder / "kafka").mkdir(exist_ok=True)
            self.kafka.start(folder / "kafka")
        (folder / "intake").mkdir(exist_ok=True)
        self.intake.serve(folder / "intake", self.source)
        self.warm_up()
        self.start_on(folder)

    def warm_up(self):
        """A producer's first event takes a second: it has to learn where to send."""
        connection = http.client.HTTPConnection("127.0.0.1", self.intake.port, timeout=30)
        event = json.dumps({"meta": {"stream": "bench"}})
        connection.request("POST", "/v1/events", event, {"content-type": "application/json"})
        if (status := connection.getresponse().status) != 201:
            raise RuntimeError(f"nothing can be written to Kafka: {status}")
        connection.close()

    def start_on(self, folder):
        raise NotImplementedError

    def stop(self):
        super().stop()
        self.intake.stop()
        self.kafka.stop()

    @property
    def source(self):
        return f'[kafka.main]\nbootstrap = ["127.0.0.1:{self.kafka.port}"]\n'


class TidegateOnKafka(OnKafka):
    """The gateway over Kafka."""

    name = "tidegate-kafka"
    keeps_history = True
    compresses = True

    def start_on(self, folder):
        self.gateway = Tidegate(self.binary)
        self.gateway.settings = self.settings
        self.gateway.serve(folder, self.source)
        self.process, self.port = self.gateway.process, self.gateway.port

    def url(self):
        return self.gateway.url()

    def replay_url(self):
        return self.gateway.replay_url()

    def restart(self, folder):
        self.gateway.stop()
        self.start_on(folder)

    def history_reads(self):
        return self.gateway.history_reads()

    def fetched_bytes(self):
        return received_bytes(self.pids(), self.kafka.port)


class FloorBesideKafka(OnKafka):
    """The floor, while Kafka takes as many events on the same machine: what Kafka's share of the
    processors and their caches costs whoever else is there."""

    name = "floor-beside-kafka"
    streams_max = Floor.streams_max

    def __init__(self, floor, tidegate, libs):
        super().__init__(floor, tidegate, libs)
        self.tidegate = tidegate
        self.other = None

    @property
    def write_args(self):
        return ("--write-to", self.url())

    def start_on(self, folder):
        self.port = free_port()
        self.spawn(folder, [self.binary, "--listen", f"127.0.0.1:{self.port}"])
        self.other = subprocess.Popen(
            [self.tidegate, "load", self.intake.url(), "-n", "1", "--write", self.rate,
             "--size", "1200", "--seconds", "600"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        if self.other is not None:
            self.other.kill()
            self.other.wait()
        super().stop()

    def url(self):
        return f"{self.base}/"


class KafkaSse(OnKafka):
    """KafkaSSE, a Kafka client for each reader."""

    name = "kafkasse"
    keeps_history = True
    streams_max = 1000

    def __init__(self, modules, tidegate, libs, node="/usr/bin/node"):
        super().__init__(node, tidegate, libs)
        self.modules = modules

    def missing(self):
        native = self.modules / "node_modules/node-rdkafka/build/Release/node-librdkafka.node"
        return super().missing() or ("" if native.exists() else f"{native} is not there")

    def start_on(self, folder):
        self.port = free_port()
        self.listen(folder)

    def cut(self, folder):
        """Ends it, not its Kafka, and starts it anew where it was."""
        Server.stop(self)
        self.listen(folder)

    def listen(self, folder):
        self.spawn(folder, [self.binary, ROOT / "bench/peers/kafkasse/server.js",
                            self.modules, self.port, self.kafka.port])

    # The writer takes the stream's name from the path; this server does not look at it.
    def url(self):
        return f"{self.base}/bench"

    def replay_url(self):
        return f"{self.base}/bench?since=1"  # 0 is no time to it


class Kafka(Server):
    """One node of Apache Kafka, with the topic `bench` of one partition."""

    name = "kafka"

    def __init__(self, libs, java="/usr/bin/java"):
        super().__init__(java)
        self.libs = libs

    def missing(self):
        there = any(self.libs.glob("kafka_*.jar"))
        return super().missing() or ("" if there else f"{self.libs} has no Kafka")

    def is_up(self):
        return self.process is not None

    def java(self, *words):
        log4j = ROOT / "tests/it/support/kafka/log4j2.properties"
        return [self.binary, f"-Dlog4j2.configurationFile={log4j}", "-cp", f"{self.libs}/*", *words]

    def start(self, folder):
        self.port, controller = free_port(), free_port()
        properties = folder / "node.properties"
        properties.write_text(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
auto.create.topics.enable=false
log.retention.ms=-1
""")
        storage = self.java("kafka.tools.StorageTool", "format", "-t", "4L6g3nShT-eMCtK--X86sw",
                            "-c", str(properties))
        subprocess.run(storage, check=True, capture_output=True)
        self.spawn(folder, self.java("-Xmx512m", "kafka.Kafka", str(properties)))
        topic = self.java("org.apache.kafka.tools.TopicCommand", "--bootstrap-server",
                          f"127.0.0.1:{self.port}", "--create", "--topic", "bench",
                          "--partitions", "1", "--replication-factor", "1")
        subprocess.run(topic, check=True, capture_output=True)


def all_servers(tidegate, floor, nginx="/usr/sbin/nginx"):
    """Every server that there is, in the order in which they take their turns."""
    built, libs = ROOT / ".cache/bench", ROOT / ".cache/kafka/libs"
    return [
        Floor(floor),
        CoalescingFloor(floor),
        SyncedFloor(floor),
        Tidegate(tidegate),
        TidegateOnKafka(tidegate, tidegate, libs),
        FloorBesideKafka(floor, tidegate, libs),
        Nchan(nginx),
        DurableStreams(built / "durable-streams/bin/durable-streams-server"),
        Mercure(built / "mercure"),
        KafkaSse(built / "kafkasse", tidegate, libs),
    ]
