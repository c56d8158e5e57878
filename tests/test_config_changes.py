"""What differs between two configurations, and which of it a running daemon takes."""

from __future__ import annotations

from pathlib import Path

from schedulerd.config import Config, parse, settings
from schedulerd.config_changes import compared
from tests.test_config import FULL


def test_live_keys_are_taken_and_the_others_wait_for_a_restart() -> None:
    running, wanted = Config(), parse(FULL, "board.toml")
    changes = compared(running, wanted)
    live = {(s.section, s.key) for s in settings() if s.live}
    assert {(c.section, c.key) for c in changes.applied} <= live
    assert not {(c.section, c.key) for c in changes.restart} & live
    assert changes.config.paths == running.paths
    assert changes.config.engine == running.engine
    assert changes.config.limits.power_w == wanted.limits.power_w
    assert changes.config.limits.queue_length == running.limits.queue_length
    assert (changes.config.log, changes.config.access) == (wanted.log, wanted.access)


def test_what_was_taken_is_no_change_any_more() -> None:
    wanted = parse(FULL, "board.toml")
    again = compared(compared(Config(), wanted).config, wanted)
    assert again.applied == ()
    assert again.restart == compared(Config(), wanted).restart


def test_nothing_changes_between_equals() -> None:
    changes = compared(Config(), Config())
    assert (changes.applied, changes.restart, changes.config) == ((), (), Config())


def test_values_are_said_as_they_would_be_written() -> None:
    said = [str(change) for change in (*compared(Config(), parse(FULL, "x")).applied,)]
    assert '[limits] memory "auto" -> "80MB"' in said
    assert '[limits] memory_reserve "64MB" -> "33554432B"' in said
    assert '[limits] heat_margin_c 5.0 -> "off"' in said
    assert "[limits] utilisation 0.8 -> 1.0" in said
    assert '[models] budgets {} -> { "gate" = "25ms", "digits-plain" = "500ms" }' in said
    assert '[models] budget "off" -> "40ms"' in said
    assert any(text.startswith("[access] control_users [0") and text.endswith("4242]") for text in said)


def test_a_path_is_said_as_text() -> None:
    changes = compared(Config(), parse('[paths]\nstate = "/srv/state"', "x"))
    assert changes.restart[0].after == '"/srv/state"'
    assert changes.restart[0].before == f'"{Path(Config().paths.state)}"'
