"""A small service manager: it holds the sockets, hears what its service says, and starts it again.

    manager.py PUBLIC_PORT ADMIN_PORT PROGRAM ARG...
    stdin:  start | term | kill | hup      stdout: what the service says, a line each; `ended STATUS`
The service ends with this process, and this process with its stdin.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading


def held(port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(1024)
    return sock


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def hear(heard):
    while True:
        for line in heard.recv(4096).decode().splitlines():
            say(line)


sockets = [held(int(port)) for port in sys.argv[1:3]]
folder = tempfile.TemporaryDirectory()
heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
heard.bind(folder.name + "/notify")
threading.Thread(target=hear, args=(heard,), daemon=True).start()
os.environ.update(
    NOTIFY_SOCKET=folder.name + "/notify",
    WATCHDOG_USEC="300000",
    LISTEN_FDS="2",
    LISTEN_FDNAMES="public:admin",
)


def become_the_service():
    os.environ["LISTEN_PID"] = str(os.getpid())
    # Out of the way of each other first.
    for n, sock in enumerate(sockets):
        os.dup2(sock.fileno(), 100 + n, inheritable=False)
    for n in range(len(sockets)):
        os.dup2(100 + n, 3 + n)


def start():
    service = subprocess.Popen(
        sys.argv[3:], stdin=subprocess.DEVNULL, stdout=sys.stderr, close_fds=False,
        preexec_fn=become_the_service)
    threading.Thread(target=lambda: say(f"ended {service.wait()}"), daemon=True).start()
    return service


service = None
say("held")
try:
    for line in sys.stdin:
        word = line.strip()
        if word == "start":
            service = start()
        else:
            service.send_signal(getattr(signal, "SIG" + word.upper()))
finally:
    if service is not None:
        service.kill()
