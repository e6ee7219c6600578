"""QEMU's own protocol: one command after the other, and the events in between."""

import json
import socket
import time

CONNECT_LIMIT_SECONDS = 30
ANSWER_LIMIT_SECONDS = 60


class QmpError(Exception):
    """QEMU refused a command, or is gone."""


class Qmp:
    """The monitor of one QEMU process, at a socket on which that one listens (-qmp)."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_LIMIT_SECONDS)
        deadline = time.monotonic() + CONNECT_LIMIT_SECONDS
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    self._socket.close()
                    raise QmpError(f"QEMU does not listen at {path}: {error}") from error
                time.sleep(0.05)
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._receive()  # The greeting.
        self.run("qmp_capabilities")

    def run(self, command, **arguments):
        """Runs one command, such as "query-status", and returns what it answers."""
        request = {"execute": command}
        if arguments:
            request["arguments"] = {name.replace("_", "-"): value
                                    for name, value in arguments.items()}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._receive()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise QmpError(f"{command}: {answer['error']['desc']}")

    def close(self):
        self._lines.close()
        self._socket.close()

    def _receive(self):
        try:
            line = self._lines.readline()
        except OSError as error:
            raise QmpError(f"QEMU does not answer: {error}") from error
        if not line:
            raise QmpError("QEMU is gone")
        return json.loads(line)
