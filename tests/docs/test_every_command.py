"""Every command of README.md and docs/*.md is run here against a real daemon, or named with who runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Command, commands, commands_of
from tests.docs.reader import Reader
from tests.docs.table import IN_ITS_PLACE, NAMED, NOT_RUN_HERE


def elsewhere(command: Command) -> list[str]:
    """The entries that say who runs it."""
    return [begin for begin in NOT_RUN_HERE if re.match(rf"{re.escape(begin)}(?![\w-])", command.text)]


def test_nothing_is_named_that_no_page_has_and_what_is_named_is_there() -> None:
    texts = {command.text for command in commands()}
    used = {begin for command in commands() for begin in elsewhere(command)}
    assert NOT_RUN_HERE.keys() - used == set(), "no page has these any more"
    assert (NAMED | IN_ITS_PLACE.keys()) - texts == set(), "no page has these any more"
    for reason in NOT_RUN_HERE.values():
        for path in re.findall(r"(?:tests|packaging|\.ci)/[\w/.]+\w", reason):
            assert (ROOT / path).exists(), path
    for benchmark in {word for text in texts for word in re.findall(r"-m (benchmarks\.\w+)", text)}:
        assert (ROOT / f"{benchmark.replace('.', '/')}.py").is_file(), benchmark


PAGE = """Say `schedctl status`, or `a = 1`, <!-- `schedctl soon` --> or `make
test`.

    schedctl apps   # a comment
    text
    .venv/bin/schedulerd build --model x \\
        --blocks 2

Then

    $ schedctl why gate
    A  B

    more
    $ make test
"""


def test_commands_are_found_in_blocks_in_transcripts_and_in_sentences() -> None:
    assert [(command.text, command.shown) for command in commands_of("page", PAGE)] == [
        ("schedctl apps", ()),
        ("schedulerd build --model x --blocks 2", ()),
        ("schedctl why gate", ("A  B", "more")),
        ("make test", ()),
        ("schedctl status", ()),
        ("make test", ()),
    ]
    fewer = commands_of(
        "page", "    schedctl apps   # a comment\n    .venv/bin/schedulerd build \\\n        --blocks 2\n"
    )
    assert [command.text for command in fewer] == ["schedctl apps", "schedulerd build --blocks 2"]


@pytest.mark.timeout(300)
def test_who_follows_the_pages_gets_what_they_say(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Reader(tmp_path, state / "profiles", monkeypatch, capfd) as reader:
        reader.builds_and_imports()
        reader.starts_the_daemon()
        reader.writes_the_apps()
        for command in commands():
            if not elsewhere(command):
                reader.runs(command)
    assert {path.name for path in PAGES} >= reader.pages > {"README.md", "first-app.md", "own-model.md", "operate.md"}
