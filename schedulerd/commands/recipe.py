"""A recipe: the options of `schedulerd build` kept in a TOML file, to be given again and to be read by others.

Every key is an option by its long name: `blocks = 5`, `variants = ["prune:0.5", "int8"]`, `width-multiple = 8`. They
are put before the options of the command line, which therefore win, and their values are checked by the same parser.
"""

from __future__ import annotations

import argparse
import difflib
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from schedulerd.errors import ConfigError


def options_of(parser: argparse.ArgumentParser) -> frozenset[str]:
    """All long options of `parser`: `--blocks`."""
    # argparse has no public list of them.
    return frozenset(name for name in parser._option_string_actions if name.startswith("--"))


def expanded(given: Sequence[str], known: Collection[str]) -> list[str]:
    """The command line `given`, with the recipes that `build` is told of in place of `--recipe FILE`, at the front.

    `known` are the options that there are; `ConfigError` for a recipe with another one.
    """
    if given[:1] != ["build"]:
        return list(given)
    kept, options, rest = [], [], iter(given[1:])
    for word in rest:
        name, equals, value = word.partition("=")
        if name == "--recipe" and (file := value if equals else next(rest, "")):
            options += arguments(Path(file), known)
        else:
            kept.append(word)
    return ["build", *options, *kept]


def arguments(path: Path, known: Collection[str]) -> list[str]:
    """The recipe at `path` as command-line arguments; `ConfigError` with the key that cannot be one of `known`."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {error}") from error
    return [text for key, value in document.items() for text in _option(path, key, value, known)]


def _option(path: Path, key: str, value: Any, known: Collection[str]) -> list[str]:
    name = f"--{key.replace('_', '-')}"
    if key == "recipe":
        raise ConfigError(f"{path}: a recipe cannot name another recipe; put its keys here")
    if name not in known:
        like = difflib.get_close_matches(name, known, n=1)
        meant = f"; did you mean {like[0].removeprefix('--')}?" if like else ""
        raise ConfigError(f"{path}: {key} is no option of schedulerd build{meant} (--help lists them)")
    if isinstance(value, bool):
        return [name] if value else []
    if isinstance(value, int | float | str):
        return [f"{name}={value}"]
    if isinstance(value, list) and value and all(isinstance(v, int | float) for v in value):
        return [f"{name}={','.join(map(str, value))}"]
    if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
        return [name, *value]
    raise ConfigError(f"{path}: {key} is {value!r}; a recipe holds text, numbers, true or false, and lists of these")
