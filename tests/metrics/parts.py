"""A control loop that is viewed, and the text that comes of it, read back by prometheus-client's own parsers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from schedulerd.control.snapshot import Snapshot
from schedulerd.metrics.collector import Exposition
from schedulerd.metrics.view import View
from schedulerd.metrics.viewer import Viewer
from tests.control.stage import Stage

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Played:
    """A source of readings that the test has put together."""

    name = "played"
    every_s = 0.0

    def __init__(self, **readings: Any) -> None:
        assert set(readings) <= set(Snapshot.__dataclass_fields__)
        self.readings = readings

    def read(self) -> Mapping[str, Any]:
        return self.readings


def viewer_of(stage: Stage, refused: Mapping[str, int] | None = None) -> Viewer:
    """It asks the stage's loop, which answers at once."""
    return Viewer(
        lambda event: stage.loop.turn([event]),
        refused or {},
        lambda: {"control": stage.clock.now_s() - 0.25, "lane-0": stage.clock.now_s()},
        stage.clock,
    )


def samples_of(view: Callable[[], View | None], accept: str = "") -> Samples:
    """What a scrape reads, by name and labels; no series is there twice."""
    content_type, body = Exposition(view).text(accept)
    text = body.decode()
    parse = openmetrics.text_string_to_metric_families if "openmetrics" in content_type else None
    families: Sequence[Any] = list((parse or text_string_to_metric_families)(text))
    found: Samples = {}
    for family in families:
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, /, **labels: str) -> float | None:
    """Of one series, None where it is absent."""
    return samples.get((name, frozenset(labels.items())))


def names(samples: Samples) -> set[str]:
    """Of all series."""
    return {name for name, _ in samples}
