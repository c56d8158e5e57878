"""What a profiler process says is read as it was meant, and whatever else is on its pipe is none of it."""

from __future__ import annotations

import pytest

from blockprofiles.contention import Contention, Point, Slowdown
from blockprofiles.events import Begun, Curves, Done, Event, Fault, Progress, Rows, from_line, to_line
from blockprofiles.record import PREDICTED, Row
from blockprofiles.table import Unusable

ROW = Row("a", "scripted", 1, 1.0, 2.0, 1000, (0.9, 1.1), cold_ms=1.5, source=PREDICTED, uncertainty=0.1)


@pytest.mark.parametrize(
    "event",
    [
        Begun("a"),
        Begun(None),
        Rows((ROW, ROW)),
        Fault(Unusable("a", "line\nfeed")),
        Progress(0.5, None),
        Progress(1.0, 2.5),
        Curves(Contention((Point(1.0, Slowdown(1.1, 1.2)),), ())),
        Done(),
    ],
)
def test_an_event_is_one_line_that_reads_as_the_same(event: Event) -> None:
    line = to_line(event)
    assert line.count(b"\n") == 1
    assert from_line(line) == event


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"loading weights",
        b"\xff\x00",
        b"[]",
        b"1",
        b'{"event": "danced"}',
        b'{"event": ["rows"]}',
        b'{"event": "rows", "rows": [{}]}',
        b'{"event": "rows", "rows": 1}',
        b'{"event": "fault", "unusable": null}',
        b'{"event": "progress", "share": "much"}',
        b"[" * 100_000,
        to_line(Rows((ROW,))).replace(b'"latency_ms":1.0', b'"latency_ms":-1.0'),
        to_line(Rows((ROW,))).replace(b'"threads":1', b'"threads":Infinity'),
    ],
)
def test_anything_else_is_none(line: bytes) -> None:
    assert from_line(line) is None
