"""An account of what goes wrong in a browser: errors, and requests to anyone but the server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

PATIENCE = 30_000  # ms for anything that a page is to show: the model may have to be loaded first
# A console says that a response was an error; whether that was wanted is for a test to say.
NO_RESOURCE = re.compile(r"Failed to load resource: .*?(?:status of (?P<status>\d+)|(?P<net>net::\w+))")


@dataclass
class Watch:
    """What a page must not do: errors, other origins. `allow` names what a test brings about itself."""

    origin: str
    faults: list[str] = field(default_factory=list)
    allowed: set[str] = field(default_factory=set)

    def allow(self, *answers: str | int) -> None:
        """Statuses ("404") or network errors ("net::ERR_CONNECTION_REFUSED") that may be in the console."""
        self.allowed |= {str(answer) for answer in answers}

    def over(self, context: BrowserContext) -> None:
        context.on("request", lambda request: self._requested(request.url))
        context.on("weberror", lambda error: self.faults.append(f"uncaught: {error.error}"))
        context.on("console", lambda message: self._logged(message.type, message.text))
        context.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))

    def check(self) -> None:
        wrong = [fault for fault in self.faults if not self._is_allowed(fault)]
        assert not wrong, "\n".join(wrong)

    def _requested(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.faults.append(f"request to another origin: {url}")

    def _logged(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(text)

    def _is_allowed(self, fault: str) -> bool:
        found = NO_RESOURCE.match(fault)
        return found is not None and (found["status"] or found["net"]) in self.allowed
