"""Counters of a server in Prometheus' text format; they hold paths, statuses and times, and no texts."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection

from isthmus.serve.gate import Served

# Seconds; the ones that Prometheus' own clients take.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_OTHER = "other"


class Histogram:
    """How often times were at most so long."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, labels: str = "") -> list[str]:
        """The samples, each bucket with all that is below it."""
        found, total = [], 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._counts, strict=True):
            total += count
            found.append(f'{name}_bucket{{{labels}{"," if labels else ""}le="{bound}"}} {total}')
        braces = f"{{{labels}}}" if labels else ""
        return [*found, f"{name}_sum{braces} {self._sum:.9g}", f"{name}_count{braces} {total}"]


class Counters:
    """What happened since the server started. All of it belongs to the event loop's thread.

    Attributes:
        encode: Seconds that a search's batch was encoded.
        search: Seconds that an index or engine was asked.
        failures: Requests that the index or engine could not answer.
        paths: Those that are counted by name; the rest, which anybody may make up, counts as "other".
    """

    def __init__(self) -> None:
        self.encode = Histogram()
        self.search = Histogram()
        self.failures = 0
        self.paths: Collection[str] = ()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, Histogram] = {}
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def add(self, served: Served) -> None:
        """Count a request that was answered."""
        path = served.path if served.path in self.paths else _OTHER
        self._requests[path, served.status] += 1
        self._seconds.setdefault(path, Histogram()).add(served.seconds)

    def gauge(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Tell a number as it is when somebody asks."""
        self._gauges[name] = (help, value)

    def text(self) -> str:
        """All of them in Prometheus' format."""
        rows = [
            f'isthmus_requests_total{{path="{path}",status="{status}"}} {count}'
            for (path, status), count in sorted(self._requests.items())
        ]
        times = [
            line
            for path, histogram in sorted(self._seconds.items())
            for line in histogram.lines("isthmus_request_seconds", f'path="{path}"')
        ]
        lines = [
            *_family("isthmus_requests_total", "counter", "Requests answered.", rows),
            *_family("isthmus_request_seconds", "histogram", "Seconds until a request was answered.", times),
        ]
        for name, help, histogram in (
            ("isthmus_encode_seconds", "Seconds of encoding the batch of a search.", self.encode),
            ("isthmus_search_seconds", "Seconds of asking the index or engine.", self.search),
        ):
            lines += _family(name, "histogram", help, histogram.lines(name))
        name = "isthmus_index_failures_total"
        help = "Requests that the index or engine could not answer."
        lines += _family(name, "counter", help, [f"{name} {self.failures}"])
        for name, (help, value) in self._gauges.items():
            lines += _family(name, "gauge", help, [f"{name} {value():g}"])
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, help: str, lines: list[str]) -> list[str]:
    return [f"# HELP {name} {help}", f"# TYPE {name} {kind}", *lines]
