"""What is looked at from outside while a server is measured: memory, sockets, its own metrics."""

import pathlib
import re
import subprocess
import threading
import time
import urllib.request


def private_kb(pids):
    """Memory that these processes share with nobody."""
    rollups = (pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    found = (re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.M) for text in rollups)
    return sum(int(kb) for each in found for kb in each)


def settled(read, patience_s=5):
    """The least that a number comes to within some seconds."""
    until, least = time.monotonic() + patience_s, read()
    while time.monotonic() < until:
        time.sleep(0.5)
        least = min(least, read())
    return least


def metric(port, name):
    """A metric of Tidegate, all its series together; None: it is not there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.findall(rf"^{name}(?:{{.*}})? ([0-9.e+]+)$", text, re.M)
    return sum(map(float, found)) if found else None


def received_bytes(pids, port):
    """What these processes have received over their connections to a port; those that are closed
    do not count any more."""
    said = sockets("-tinpHO", f"( dport = :{port} )")
    own = [line for line in said.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    return sum(int(n) for line in own for n in re.findall(r"\bbytes_received:(\d+)", line))


def sockets(options, those):
    """The lines of `ss`."""
    command = ["ss", options, "state", "established", those]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


class KernelMemory:
    """What the server's sockets hold in the kernel while some of their readers stall."""

    def __init__(self, port, stalled):
        self.port, self.stalled, self.most, self.over = port, stalled, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        if stalled:
            self.thread.start()

    def run(self):
        while not self.over.wait(1.0):
            try:
                said = sockets("-tmHO", f"( sport = :{self.port} )")
            except OSError:
                return  # there is no `ss` here
            # skmem:(r…,rb…,t…,tb…,f…,w…,…): received, allocated ahead, and queued for writing.
            found = re.findall(r"skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+)", said)
            each = sorted((sum(map(int, parts)) for parts in found), reverse=True)
            self.most = max(self.most, sum(each[:self.stalled]))

    def result(self):
        self.over.set()
        if self.thread.ident is not None:
            self.thread.join()
        return round(self.most / self.stalled) if self.most else None
