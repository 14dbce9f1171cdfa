"""`vision serve` as a process, to be started, stopped and started again."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TOKEN = "long-enough-for-the-tests-0123456789"


@dataclass
class PageServer:
    """`vision serve` in a process of its own; started again, it has the same port."""

    store: Path
    environment: dict[str, str]
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "vision.cli", "serve", "--store", str(self.store)]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--rate", "0", "--no-open"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
                self.port = int(found[1])
                return
        self.stop()
        pytest.fail(f"vision serve ended: {''.join(said)}")

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
