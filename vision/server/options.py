"""What the person who starts the server decides, and what it puts up with from those who call it."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field

from data.errors import ParameterError

FEWEST_TOKEN_CHARACTERS = 16
MAKE_ONE = "make one with `python -c 'import secrets; print(secrets.token_urlsafe())'`"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request, and one client, may ask for; how long a query may be stands in the schemas.

    Args:
        body_bytes: of a request, but for an upload.
        upload_bytes: of a picture that is sent to search by.
        bodies_bytes: of all bodies that are being read or worked on.
        upload_pixels: of the same.
        uploads_bytes: of all of them that are kept for later queries.
        rate: requests a second of one client, on average; 0 for any number.
        burst: requests that it may make at once.
        waiting: requests that are worked on at the same time, of all clients; more are turned away.
        timeout_s: after which a request is given up.
        thumbnails_bytes: of the cache on the disk.
    """

    body_bytes: int = 256 << 10
    upload_bytes: int = 20 << 20
    bodies_bytes: int = 400 << 20
    upload_pixels: int = 50_000_000
    uploads_bytes: int = 200 << 20
    rate: float = 100.0
    burst: int = 400
    waiting: int = 256
    timeout_s: float = 60.0
    thumbnails_bytes: int = 2 << 30

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate >= 0):
            raise ParameterError("rate", must_be="a number of requests a second, 0 for any", got=self.rate)
        if not (math.isfinite(self.timeout_s) and self.timeout_s > 0):
            raise ParameterError("timeout", must_be="a number of seconds above 0", got=self.timeout_s)


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Where the server listens and whom it answers.

    Args:
        host: address or name to listen at.
        port: 0 takes any that is free.
        token: what every call must carry; None for none, which only loopback may do.
        names: host names, beside `localhost` and plain addresses, under which it may be asked.
        limits: see there.

    Raises:
        ParameterError: an address that others can reach and no token, or a token that is easily guessed or
            that no header can hold.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = field(default=None, repr=False)
    names: tuple[str, ...] = ()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ParameterError("port", must_be="from 0 to 65535", got=self.port)
        if self.token is None and not is_loopback(self.host):
            do = "set CHIASM_TOKEN to a long random text, or listen at 127.0.0.1"
            found = f"none for {self.host}, which other machines can reach"
            raise ParameterError("token", must_be="given beyond loopback", got=found, do=do)
        if self.token is not None and len(self.token) < FEWEST_TOKEN_CHARACTERS:
            raise ParameterError(
                "token",
                must_be=f"at least {FEWEST_TOKEN_CHARACTERS} characters",
                got=f"{len(self.token)}",
                do=MAKE_ONE,
            )
        # Anything else would not come through a header as it was meant.
        if self.token is not None and not all("!" <= letter <= "~" for letter in self.token):
            must_be = "letters, digits and signs of ASCII, without spaces"
            raise ParameterError("token", must_be=must_be, got="others", do=MAKE_ONE)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host: `localhost` or an address of the loopback range."""
    address = as_address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is written as, in brackets or without; None for a name."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
