"""The table of metrics as prometheus-client's values, and as the text that Prometheus reads."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from schedulerd.metrics.families import FAMILIES
from schedulerd.metrics.family import Family, Sample
from schedulerd.metrics.view import View
from schedulerd.serving.buckets import Buckets

_EXPONENT: Final = re.compile(rb"(?<= )-?\d(?:\.\d+)?e[+-]\d+$", re.MULTILINE)
"""The value at the end of a line; what stands in a label is followed by a brace."""


class DaemonCollector(Collector):
    """Gives every family of which there is something to tell."""

    def __init__(self, view: Callable[[], View | None]) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """The families of this moment; none before the daemon knows anything."""
        view = self._view()
        if view is None:
            return
        for family in FAMILIES:
            samples = [sample for sample in family.read(view) if sample.value is not None]
            if samples:
                yield _metric(family, samples)


class Exposition:
    """What is told: the daemon's own families, and prometheus-client's of its process."""

    def __init__(self, view: Callable[[], View | None]) -> None:
        # Without `auto_describe`: nothing is collected before somebody asks.
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(DaemonCollector(view))
        ProcessCollector(registry=self._registry)

    def text(self, accept: str) -> tuple[str, bytes]:
        """Content type and body, in the format that the header `Accept` asks for: OpenMetrics or Prometheus' own."""
        encode, content_type = choose_encoder(accept)
        return content_type, plain(encode(self._registry))


def plain(text: bytes) -> bytes:
    """With all digits: prometheus-client writes 8000000000 as 8e+09, which some readers of `nv_gpu_*` misread."""
    return _EXPONENT.sub(lambda match: format(Decimal(match[0].decode()), "f").encode(), text)


def _metric(family: Family, samples: list[Sample]) -> Metric:
    if family.kind == "histogram":
        return _histogram(family, samples)
    make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = make(family.name, family.help, labels=family.labels)
    for labels, value in samples:
        assert isinstance(value, int | float), f"{family.name} is no histogram"
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, samples: list[Sample]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in samples:
        assert isinstance(value, Buckets), f"{family.name} is a histogram"
        bounds = [(_le(bound / 1e3), float(count)) for bound, count in value.up_to()]
        metric.add_metric(labels, bounds, sum_value=value.sum / 1e3)
    return metric


def _le(bound_s: float) -> str:
    """As Prometheus writes the label of a bucket."""
    return "+Inf" if bound_s == math.inf else repr(bound_s)
