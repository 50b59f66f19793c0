"""The servers: how each is started on this host, and where it is read and written.

Each is one process (with its children) on loopback that is started for one measurement and ended
after it. To add one: a class with `name`, `start`, and what differs from `Server`.
"""

import os
import pathlib
import random
import signal
import socket
import subprocess
import time

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
    # Arguments of `tidegate load`, besides those of the scenario.
    write_args = ()

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


class Tidegate(Server):
    """The gateway over its embedded log."""

    name = "tidegate"
    keeps_history = True

    def start(self, folder):
        self.port = free_port()
        (folder / "tidegate.toml").write_text(
            f'[embedded]\ndata_dir = "{folder}/data"\n'
            '[streams.bench]\ntopics = ["bench"]\n'
            "[intake]\nenabled = true\n"
            "[limits]\nstreams_per_client = 100000\n")
        self.spawn(folder, [
            self.binary, "--log-level", "warn", "serve", "--config", folder / "tidegate.toml",
            "--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{free_port()}"])

    def url(self):
        return f"{self.base}/v2/stream/bench"

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
        self.spawn(folder, [self.binary, "--listen", f"127.0.0.1:{self.port}", *self.options])

    def url(self):
        return f"{self.base}/"


class CoalescingFloor(Floor):
    """The same, with what piled up during a pass as one write."""

    name = "floor-coalescing"
    options = ("--coalesce",)


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


def all_servers(tidegate, floor, nginx="/usr/sbin/nginx"):
    """Every server that there is, in the order in which they take their turns."""
    return [Floor(floor), CoalescingFloor(floor), Tidegate(tidegate), Nchan(nginx)]
