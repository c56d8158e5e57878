"""Things named on the command line: `package.module:name`, factories as `package.module:factory?argument=value&...`."""

from __future__ import annotations

import importlib
import inspect
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from blockstore.errors import BlockStoreError, CannotBuild


def call(spec: str) -> Any:
    """What the factory of `spec` returns.

    Arguments follow a question mark as in a URL: `blockstore.zoo.datasets:cifar10?path=data/cifar10&limit=5000`.
    Whole numbers become int, everything else stays text.
    """
    location, _, query = spec.partition("?")
    factory = resolve(location)
    arguments = {k: int(v) if v.isdecimal() else v for k, v in parse_qsl(query, keep_blank_values=True)}
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        raise CannotBuild(f"{location} takes {inspect.signature(factory)}: {error}") from error
    try:
        return factory(**arguments)
    except BlockStoreError:
        raise
    # It is the user's own code, and may raise anything.
    except Exception as error:
        raise CannotBuild(f"{spec} failed: {type(error).__name__}: {error}") from error


def resolve(name: str) -> Any:
    """What `package.module:name` names; else `CannotBuild`, which says where where the module itself is at fault."""
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        raise CannotBuild(f"{name!r} is not of the form package.module:name")
    try:
        module = importlib.import_module(module_name)
    # Importing runs the user's own code, which may raise anything.
    except Exception as error:
        raise CannotBuild(f"cannot import {module_name!r} for {name!r}: {_reason(error)}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise CannotBuild(f"module {module_name!r} has no {attribute!r}") from error


def _reason(error: Exception) -> str:
    """What went wrong in an import, and in which line: the innermost one that is no function's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"SyntaxError: {error.msg} ({Path(error.filename).name}, line {error.lineno})"
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == "<module>"]
    where = f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"
