"""A process on a host that does file operations for the test, and can be given up on.

The test itself never touches a mount: a call to a filesystem whose host is cut off may not return.
host_acts.py is the other end; requests and answers are lines of JSON.
"""

import contextlib
import errno
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

ACT_LIMIT_SECONDS = 60
_END_SECONDS = 1
_PIECE_BYTES = 1 << 16
_AGENT = pathlib.Path(__file__).with_name("host_acts.py")


class ActTimeout(AssertionError):
    """The process did not answer in time; it may answer later."""


class Acts:
    """One act at a time. An act that the system refuses raises OSError with the errno from there."""

    def __init__(self, host):
        self.host = host
        self._process = subprocess.Popen(
            host.command_line(sys.executable, "-u", _AGENT),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        os.set_blocking(self._process.stdout.fileno(), False)
        self._pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """Kills the process, if it can be: one that waits for a filesystem ends when that answers."""
        self._process.send_signal(signal.SIGKILL)
        self._process.stdin.close()
        self._process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)

    def ask(self, act, limit_seconds=ACT_LIMIT_SECONDS, **arguments):
        self.tell(act, **arguments)
        return self.answer(limit_seconds)

    def tell(self, act, **arguments):
        """Begins an act; answer() waits for it."""
        line = json.dumps({"act": act, **arguments}, default=str) + "\n"
        self._process.stdin.write(line.encode())

    def answer(self, limit_seconds=ACT_LIMIT_SECONDS):
        reply = self.hear(limit_seconds)
        if "errno" in reply:
            number = getattr(errno, reply["errno"], 0)
            raise OSError(number, f"{reply['errno']} on {self.host.name}", reply.get("act"))
        return reply

    def hear(self, limit_seconds=ACT_LIMIT_SECONDS):
        """The next line of the process, whatever it says."""
        deadline = time.monotonic() + limit_seconds
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise ActTimeout(f"a process on {self.host.name} did not answer within "
                                 f"{limit_seconds} s")
            piece = self._process.stdout.read(_PIECE_BYTES)
            if piece == b"":
                raise AssertionError(f"a process on {self.host.name} is gone")
            self._pending += piece or b""
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)

    # --- the acts, by name ------------------------------------------------------------------------

    def open(self, path, write=False, direct=False, **limits):
        """Opens a file and returns its number here."""
        return self.ask("open", path=path, write=write, direct=direct, **limits)["handle"]

    def close(self, handle, **limits):
        self.ask("close", handle=handle, **limits)

    def write(self, handle, block, mark, **limits):
        """Writes one block that carries `mark`."""
        self.ask("write", handle=handle, block=block, mark=mark, **limits)

    def write_many(self, handle, writes, **limits):
        """Writes blocks with their marks, in this order, and flushes."""
        self.ask("write_many", handle=handle, writes=writes, **limits)

    def sync(self, handle, **limits):
        self.ask("sync", handle=handle, **limits)

    def marks(self, handle, first=0, count=1, **limits):
        """What `count` blocks carry: a mark, None where all is zero, "damaged" for anything else."""
        found = self.ask("marks", handle=handle, first=first, count=count, **limits)["marks"]
        return [tuple(mark) if isinstance(mark, list) else mark for mark in found]
