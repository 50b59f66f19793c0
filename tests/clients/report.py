"""What the Python clients here have in common: they say what came, and end when stdin closes."""

import json
import os
import sys
import threading


def show(data):
    """One line per event: its topic, partition and offset."""
    meta = json.loads(data)["meta"]
    print(meta["topic"], meta["partition"], meta["offset"], flush=True)


def _end_with_stdin():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=_end_with_stdin, daemon=True).start()
