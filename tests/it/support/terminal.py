"""Runs a command in a terminal of its own: keys come from stdin, what it draws goes to stdout.

When the command has ended, a last line says how, and whether the terminal is as it was before.
"""
import fcntl
import os
import pty
import select
import struct
import sys
import termios

master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
before = termios.tcgetattr(slave)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.environ["TERM"] = "xterm-256color"
    os.execv(sys.argv[1], sys.argv[1:])
print(f"pid {child} ", flush=True)
keys, status = sys.stdin.fileno(), None
while True:
    ready, _, _ = select.select([master] + ([keys] if keys is not None else []), [], [], 0.1)
    if master in ready:
        os.write(1, os.read(master, 65536))
        continue
    if keys in ready:
        pressed = os.read(keys, 64)
        if pressed:
            os.write(master, pressed)
        else:
            # Nobody is there any more: it must not outlive the test.
            os.kill(child, 9)
            keys = None
    if status is not None:
        break
    ended, how = os.waitpid(child, os.WNOHANG)
    if ended:
        status = os.waitstatus_to_exitcode(how)
restored = "restored" if termios.tcgetattr(slave) == before else "left behind"
print(f"\nended {status}, the terminal is {restored}", flush=True)
