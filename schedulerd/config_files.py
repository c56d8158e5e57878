"""TOML files into checked values: the configuration and the `conf.d/*.toml` beside it, the later the stronger.

Knows no setting by name: which keys there are and what each takes is given by `schedulerd.config`. Nothing is raised
for what stands in a file. Every mistake is noted, so that an operator sees all of them at once.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from schedulerd.errors import ConfigError
from schedulerd.kinds import Kind
from schedulerd.typed import did_you_mean

FOLDER: Final = "conf.d"
"""Beside the configuration file."""
MAX_FILE_BYTES: Final = 2**20
"""Of one file: every key there is, at its default, takes a hundredth of it."""
_MOST_SHOWN: Final = 80

Known = Mapping[str, Mapping[str, Kind]]
"""By section and key, what it takes."""
Place = tuple[str, str]
"""Section and key."""


class Mistake(NamedTuple):
    """Something that is wrong, as one line for a person and as its parts for a program."""

    file: str
    section: str
    """Empty where the whole file is wrong."""
    key: str
    """Empty where a whole section is wrong."""
    value: str
    """As it would be written in TOML; empty where no value is wrong."""
    allowed: str
    """What could stand there; empty where nobody can say."""
    reason: str
    """A sentence, with the nearest name where one is unknown."""

    def __str__(self) -> str:
        place = f" [{self.section}] {self.key}:" if self.key and self.allowed else ""
        return f"{self.file}:{place} {self.reason}"


class Given(NamedTuple):
    """A value that stands in a file."""

    value: Any
    """As the setting's field holds it."""
    text: str
    """As it is written in TOML."""
    file: str
    before: tuple[str, ...] = ()
    """Files that give the key too, and count less."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the files say."""

    files: tuple[str, ...]
    """That were read, the weakest first."""
    given: Mapping[Place, Given] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()

    def refuse_mistakes(self) -> None:
        """ConfigError with the first mistake, and how many more there are."""
        if not self.mistakes:
            return
        first, *more = self.mistakes
        rest = f" (and {len(more)} more: see `schedulerd check-config`)" if more else ""
        raise ConfigError(f"{first}{rest}")


def read(path: Path, known: Known, *, must_exist: bool = True) -> Found:
    """A configuration and the files of the folder beside it, in the order of their names.

    Args: path: the file; known: settings; must_exist: whether it is a mistake that there is no such file.
    """
    mistakes: list[Mistake] = []
    texts: list[tuple[str, str]] = []
    for file, needed in ((path, must_exist), *((one, True) for one in _beside(path, mistakes))):
        text = _text(file, mistakes, needed)
        if text is not None:
            texts.append((str(file), text))
    found = parsed(texts, known)
    return Found(found.files, found.given, (*mistakes, *found.mistakes))


def parsed(texts: Sequence[tuple[str, str]], known: Known) -> Found:
    """`read` for what has been read already: names of files with their texts."""
    mistakes: list[Mistake] = []
    given: dict[Place, Given] = {}
    for file, text in texts:
        for place, value, written in _values(file, text, known, mistakes):
            weaker = given.get(place)
            before = () if weaker is None else (*weaker.before, weaker.file)
            if weaker is not None and isinstance(value, dict):
                value = {**weaker.value, **value}  # a table grows: name by name the last one counts
            given[place] = Given(value, toml_text(written), file, before)
    return Found(tuple(file for file, _ in texts), given, tuple(mistakes))


def toml_text(value: object) -> str:
    """A value about as it is written in TOML, on one line, short and printable."""
    text = _table_text(value) if isinstance(value, dict) else json.dumps(value, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 3]}..."


def _table_text(table: Mapping[str, object]) -> str:
    entries = ", ".join(f"{json.dumps(name)} = {toml_text(value)}" for name, value in table.items())
    return f"{{ {entries} }}" if entries else "{}"


# Reading.


def _beside(path: Path, mistakes: list[Mistake]) -> list[Path]:
    folder = path.parent / FOLDER
    try:
        return sorted(p for p in folder.iterdir() if p.suffix == ".toml" and not p.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        mistakes.append(Mistake(str(folder), "", "", "", "", f"cannot be read: {error.strerror}"))
        return []


def _text(file: Path, mistakes: list[Mistake], needed: bool) -> str | None:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) <= MAX_FILE_BYTES:
            return content.decode("utf-8")
        reason = f"is larger than {MAX_FILE_BYTES} bytes: it is no configuration"
    except FileNotFoundError:
        if not needed:
            return None
        reason = "there is no such file"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 text (byte {error.start})"
    mistakes.append(Mistake(str(file), "", "", "", "", reason))
    return None


# Checking.


def _values(file: str, text: str, known: Known, mistakes: list[Mistake]) -> Iterator[tuple[Place, Any, object]]:
    """Place, value and what was written of every key that is right."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # beside TOMLDecodeError: numbers and nesting without end
        mistakes.append(Mistake(file, "", "", "", "", f"is not TOML: {error}"))
        return
    for section, table in document.items():
        wrong = _wrong_section(section, table, known)
        if wrong:
            mistakes.append(Mistake(file, section, "", "", "", wrong))
            continue
        kinds = known[section]
        for key, written in table.items():
            if key not in kinds:
                reason = f"[{section}] has no key {key!r}{_nearest(key, section, known)}"
                mistakes.append(Mistake(file, section, key, toml_text(written), "", reason))
                continue
            try:
                yield (section, key), kinds[key].parse(written), written
            except ConfigError as error:
                allowed = kinds[key].range()
                mistakes.append(Mistake(file, section, key, toml_text(written), allowed, str(error)))


def _nearest(key: str, section: str, known: Known) -> str:
    """What may have been meant: a key of the same name elsewhere, or one of nearly that name here."""
    homes = [other for other, kinds in known.items() if key in kinds]
    if homes:
        return f"; write it below [{homes[0]}]"
    return f"{did_you_mean(key, known[section]) or ';'} its keys are {', '.join(known[section])}"


def _wrong_section(name: str, table: object, known: Known) -> str:
    """What is wrong with a section; empty where nothing is."""
    if name not in known:
        homes = [section for section, kinds in known.items() if name in kinds]
        if homes and not isinstance(table, dict):
            return f"{name!r} stands outside of a section; write it below [{homes[0]}]"
        hint = did_you_mean(name, known) or ";"
        return f"unknown section [{name}]{hint} the sections are {', '.join(known)}"
    return "" if isinstance(table, dict) else f"{name} must be a section: write [{name}] on a line of its own"
