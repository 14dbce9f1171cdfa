"""`vision serve` as a process of its own, and answers to requests that no client would send."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass
class Served:
    """A server that answers at a port of 127.0.0.1."""

    process: subprocess.Popen[str]
    port: int
    said: str

    def send(self, *parts: bytes) -> bytes:
        """The bytes that come back for these, until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            for part in parts:
                connection.sendall(part)
            answer = b""
            while more := connection.recv(1 << 16):
                answer += more
        return answer

    def get(self, target: bytes, **headers: str) -> tuple[int, bytes]:
        """Status and all bytes of the answer to a GET of just this target."""
        lines = {"host": f"127.0.0.1:{self.port}", "connection": "close", **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
        answer = self.send(b"GET " + target + b" HTTP/1.1\r\n" + head.encode("latin-1") + b"\r\n")
        return int(answer.split(b" ", 2)[1]), answer


def command(store: Path, *options: str) -> list[str]:
    """`vision serve` at a port that is free, without a browser."""
    serve = ["-m", "vision.cli", "serve", "--store", str(store), "--port", "0", "--no-open"]
    return [sys.executable, *serve, *options]


def environment(cache: Path, **more: str) -> dict[str, str]:
    """That of this process, with a cache of its own and without a token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHIASM_")}
    return {**kept, "CHIASM_CACHE": str(cache), **more}


@contextmanager
def served(store: Path, cache: Path, *options: str, **more: str) -> Iterator[Served]:
    """The process, from when it answers; killed at the end if it still lives then.

    Args:
        more: of its environment.
    """
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(command(store, *options), env=environment(cache, **more), **how) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r" at http://\S+:(\d+)/", said)
            if found is None:
                raise AssertionError(f"it said {said!r} and {process.communicate(timeout=60)}")
            yield Served(process=process, port=int(found[1]), said=said)
        finally:
            process.kill()
