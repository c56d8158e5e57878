"""What operators have set: the values, and the file that they outlive the daemon in."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulerd.control.overrides import (
    FILE_NAME,
    MAX_FILE_BYTES,
    MOST_APPS,
    MOST_PINS,
    NONE,
    AppOverride,
    Overrides,
    OverridesFile,
    document_of,
    overrides_from,
)
from schedulerd.errors import BadValue
from schedulerd.plan import NO_PINS, App, Pins

SET = Overrides("min-latency", 80_000_000, {"cam": AppOverride(12.5), "gate": AppOverride(30.0)})
HELD = Pins((("stem", "small"), ("tail", "original")), (("exit1", 0.75), ("final", 0.0)))
FULL = Overrides(apps={"cam": AppOverride(12.5, 9, HELD), "door": AppOverride(pins=HELD), "gate": AppOverride(None, 1)})


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    file = OverridesFile(tmp_path / "state")
    assert file.load() == NONE, "there is no file yet"
    assert file.save(SET) is None
    assert OverridesFile(tmp_path / "state").load() == SET
    assert file.save(NONE) is None
    assert file.load() == NONE
    assert [path.name for path in (tmp_path / "state").iterdir()] == [FILE_NAME], "nothing half-written is left"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 2}',
        b'{"apps": {}}',
        b'{"version": 1, "apps": []}',
        b'{"version": 1, "apps": {}, "later": 1}',
        b'{"version": 1, "apps": {"cam": 3}}',
        b'{"version": 1, "apps": {"cam": {"budget_ms": "12"}}}',
        b'{"version": 1, "apps": {"cam": {"budget_ms": true}}}',
        b'{"version": 1, "apps": {"cam": {"budget_ms": 0}}}',
        b'{"version": 1, "apps": {"cam": {"budget_ms": 1e9}}}',
        b'{"version": 1, "apps": {"cam": {"budget_ms": NaN}}}',
        b'{"version": 1, "apps": {"": {"budget_ms": 1}}}',
        b'{"version": 1, "apps": {"cam": {"priority": 11}}}',
        b'{"version": 1, "apps": {"cam": {"priority": 5.5}}}',
        b'{"version": 1, "apps": {"cam": {"pins": []}}}',
        b'{"version": 1, "apps": {"cam": {"pins": {"stem": 3}}}}',
        b'{"version": 1, "apps": {"cam": {"pins": {"stem": ""}}}}',
        b'{"version": 1, "apps": {"cam": {"exits": {"exit1": "most"}}}}',
        b'{"version": 1, "apps": {"cam": {"exits": {"exit1": NaN}}}}',
        b'{"version": 1, "apps": {"\\u001b[2J": {"budget_ms": 1}}}',
        b'{"version": 1, "apps": {}, "objective": "max-latency"}',
        b'{"version": 1, "apps": {}, "objective": 3}',
        b'{"version": 1, "apps": {}, "memory_bytes": -1}',
        b'{"version": 1, "apps": {}, "memory_bytes": 1.5}',
        b"[" * 100_000,
        b" " * (2**20 + 1),
        b"\xff\xfe",
    ],
    ids=lambda content: content[:60],
)
def test_a_file_that_makes_no_sense_is_set_aside_and_not_lost(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    file = OverridesFile(tmp_path)
    assert file.load() == NONE
    assert not path.exists()
    assert (tmp_path / f"{FILE_NAME}.bad-1").read_bytes() == content
    assert file.save(SET) is None
    assert file.load() == SET


def test_priorities_and_pins_are_saved_too(tmp_path: Path) -> None:
    OverridesFile(tmp_path).save(FULL)
    assert OverridesFile(tmp_path).load() == FULL


def test_names_of_a_model_may_be_longer_than_what_travels(tmp_path: Path) -> None:
    """Blocks are named after layers, and nobody limits those: a pin must not cost what else is set."""
    pins = Pins((("encoder.layers." * 20, "original"), ("a\tb", "small" * 40)))
    file = OverridesFile(tmp_path)
    assert file.save(NONE.with_app("gate", budget_ms=30.0).with_app("cam", pins=pins)) is None
    assert file.load().app("cam").pins == pins
    assert file.load().app("gate").budget_ms == 30.0


def test_more_than_the_file_takes_is_refused() -> None:
    """Else it would be set aside at the next start, with all that is in it."""
    whole, pins = NONE, Pins(tuple((f"{block}{'é' * 120}", "original") for block in range(64)))
    for number in range(20):
        whole = whole.with_app(f"cam{number}", pins=pins)
    large = Pins(tuple((f"{block}{'é' * 120}", "original") for block in range(2000)))
    with pytest.raises(BadValue, match="the limit is 1048576; drop what is set for apps long gone"):
        whole.with_app("one-more", pins=large)
    assert overrides_from(document_of(whole)) == whole


def test_a_file_from_before_there_was_more_than_budgets_is_read() -> None:
    old = b'{"version": 1, "objective": null, "memory_bytes": null, "apps": {"cam": {"budget_ms": 12.5}}}'
    assert overrides_from(old) == Overrides(apps={"cam": AppOverride(12.5)})


def test_a_second_bad_file_does_not_take_the_place_of_the_first(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / FILE_NAME).write_text(f"bad {number}")
        OverridesFile(tmp_path).load()
        assert (tmp_path / f"{FILE_NAME}.bad-{number}").read_text() == f"bad {number}"


def test_a_disk_that_cannot_be_written_is_a_reason_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    reason = OverridesFile(tmp_path / "state").save(SET)
    assert reason is not None
    assert os.strerror(errno.EEXIST) in reason or os.strerror(errno.ENOTDIR) in reason


def test_a_file_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    assert OverridesFile(tmp_path).load() == NONE
    assert (tmp_path / FILE_NAME).is_dir()


def test_an_app_gets_what_is_set_for_its_name() -> None:
    wishes = App("cam", "m", 50.0, 10.0)
    assert SET.of(wishes).budget_ms == 12.5
    assert SET.of(App("other", "m", 50.0, 10.0)).budget_ms == 50.0
    assert SET.without_app("cam").of(wishes) is wishes
    assert SET.with_app("cam", budget_ms=7.0).of(wishes).budget_ms == 7.0
    assert FULL.of(wishes) == replace(wishes, budget_ms=12.5, priority=9, pins=HELD)
    assert FULL.of(replace(wishes, app_id="door")).priority == 5, "what is not set is as it asks"


def test_an_app_for_which_nothing_is_left_is_not_kept() -> None:
    assert "cam" not in SET.with_app("cam", budget_ms=None).apps
    assert FULL.with_app("door", pins=NO_PINS).apps.keys() == {"cam", "gate"}


def test_there_is_an_end_to_the_names_that_something_is_set_for() -> None:
    full = Overrides(apps={f"app-{n}": AppOverride(1.0) for n in range(MOST_APPS)})
    assert full.with_app("app-0", budget_ms=2.0).apps["app-0"] == AppOverride(2.0)
    with pytest.raises(BadValue, match="1000 apps have overrides"):
        full.with_app("one-more", budget_ms=1.0)
    many = Pins(tuple((f"block-{n}", "small") for n in range(MOST_PINS)))
    pinned = NONE.with_app("cam", pins=many)
    with pytest.raises(BadValue, match="4097 blocks would be pinned, 4096 can be"):
        pinned.with_app("door", pins=Pins((("one-more", "small"),)))
    assert len(document_of(pinned)) < MAX_FILE_BYTES


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(content: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError, BadValue):
        overrides_from(content)


def test_the_file_is_plain_json() -> None:
    assert json.loads(document_of(SET))["apps"]["cam"] == {"budget_ms": 12.5}
