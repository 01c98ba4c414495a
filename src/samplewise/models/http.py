"""What clients of servers share: the key, the address, and how long to wait before another try."""

from __future__ import annotations

import email.utils
import os
import random
import time

from samplewise.errors import UsageError

__all__ = [
    "LONGEST_WAIT",
    "asked_wait",
    "check_address",
    "is_passing",
    "jitter",
    "proxy_for",
    "read_key",
]

LONGEST_WAIT = 60.0  # seconds between two tries, whatever the server asks for
_JITTER = random.SystemRandom()  # not the state that a user's seed sets
_PASSING = (408, 409, 425, 429)


def check_address(url: str, key_variable: str) -> None:
    """Refuse an address that is none, or that has a key in it: it goes into names and logs."""
    if not url.startswith(("http://", "https://")) or any(mark in url for mark in "@?#"):
        raise UsageError(
            "the endpoint's address must be http(s)://host/path, without a key in it",
            mend=f"put the key in the environment variable {key_variable}",
        )


def read_key(variable: str) -> str:
    """Read a key from the environment; empty where there is none."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"the key in {variable} holds odd characters")
    return key


def proxy_for(url: str) -> str | None:
    """Find the proxy that the environment names for an address."""
    import urllib.parse
    import urllib.request

    parts = urllib.parse.urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def is_passing(status: int) -> bool:
    """Say whether a status may go away by itself.

    Examples
    --------
    >>> is_passing(429), is_passing(503), is_passing(400)
    (True, True, False)
    """
    return status in _PASSING or status >= 500


def jitter(low: float, high: float) -> float:
    """Draw a time to wait, so that clients that failed together do not come back together."""
    return _JITTER.uniform(low, high)


def asked_wait(header: str) -> float:
    """Read the seconds of a Retry-After header, which may also be a date.

    Examples
    --------
    >>> asked_wait("1.5"), asked_wait("soon")
    (1.5, 0.0)
    """
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
