"""Not too much of one host: how many requests at once and how close together, pauses it asks for, and robots.txt."""

from __future__ import annotations

import contextlib
import email.utils
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from protego import Protego

from dar_search.ingestion.fetching.web_addresses import WebAddress

_GATES = 4_096
_ROBOTS_HOSTS = 1_000
_ROBOTS_SECONDS = 3_600.0
_LONGEST_CRAWL_DELAY = 60.0


@dataclass(slots=True)
class _Gate:
    inside: int = 0
    waiting: int = 0
    next_start: float = 0.0
    changed: threading.Condition = field(default_factory=threading.Condition)


class HostGates:
    """Lets requests through to each host. Safe to use from several threads.

    Args:
        concurrency: requests to one host at once.
        spacing: seconds between the starts of two of them.
    """

    def __init__(self, concurrency: int, spacing: float) -> None:
        self._concurrency = concurrency
        self._spacing = spacing
        self._gates: dict[str, _Gate] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def through(self, host: str, stopping: threading.Event, spacing: float | None = None) -> Iterator[None]:
        """Waits for its turn; ends waiting at once where `stopping` is set. spacing: of this host, if another one."""
        gate = self._enter(host, stopping, self._spacing if spacing is None else spacing)
        try:
            yield
        finally:
            with gate.changed:
                gate.inside -= 1
                gate.changed.notify()

    def pause(self, host: str, seconds: float) -> None:
        """No request to the host starts before so many seconds have gone by."""
        gate = self._gate(host)
        with gate.changed:
            gate.next_start = max(gate.next_start, time.monotonic() + seconds)
            gate.waiting -= 1

    def _enter(self, host: str, stopping: threading.Event, spacing: float) -> _Gate:
        gate = self._gate(host)
        with gate.changed:
            while not stopping.is_set():
                wait = gate.next_start - time.monotonic()
                if gate.inside < self._concurrency and wait <= 0:
                    break
                # Woken by whoever leaves; looked at anyway now and then, so that `stopping` is seen.
                gate.changed.wait(min(0.2, wait) if wait > 0 else 0.2)
            gate.waiting -= 1
            gate.inside += 1
            gate.next_start = max(gate.next_start, time.monotonic() + spacing)
        return gate

    def _gate(self, host: str) -> _Gate:
        with self._lock:
            if len(self._gates) >= _GATES:
                self._forget_idle()
            gate = self._gates.setdefault(host, _Gate())
            gate.waiting += 1
            return gate

    def _forget_idle(self) -> None:
        """A list of a million hosts shall not leave a million gates."""
        now = time.monotonic()
        self._gates = {
            host: gate for host, gate in self._gates.items() if gate.inside or gate.waiting or gate.next_start > now
        }


class Robots:
    """What hosts' robots.txt say (RFC 9309), each asked once an hour. Safe to use from several threads.

    Args:
        user_agent: as the fetcher names itself.
        fetch: a URL's origin -> the text of its robots.txt; "" where there is none, None where it cannot be had: then
            everything is forbidden.
    """

    def __init__(self, user_agent: str, fetch: Callable[[WebAddress], str | None]) -> None:
        self._user_agent = user_agent
        self._fetch = fetch
        self._known: OrderedDict[str, tuple[float, Protego | None]] = OrderedDict()
        self._lock = threading.Lock()

    def allow(self, address: WebAddress) -> bool:
        rules = self._rules(address)
        return rules is not None and rules.can_fetch(str(address), self._user_agent)

    def crawl_delay(self, address: WebAddress) -> float:
        """Seconds that the host wants between two requests, within reason."""
        rules = self._rules(address)
        return min(float((rules and rules.crawl_delay(self._user_agent)) or 0.0), _LONGEST_CRAWL_DELAY)

    def _rules(self, address: WebAddress) -> Protego | None:
        with self._lock:
            asked, rules = self._known.get(address.origin, (float("-inf"), None))
        if time.monotonic() - asked < _ROBOTS_SECONDS:
            return rules
        text = self._fetch(address)
        rules = None if text is None else Protego.parse(text)
        with self._lock:
            self._known[address.origin] = (time.monotonic(), rules)
            while len(self._known) > _ROBOTS_HOSTS:
                self._known.popitem(last=False)
        return rules


def retry_after(value: str | None) -> float | None:
    """A Retry-After header -> seconds from now; None where it says nothing that can be understood."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
