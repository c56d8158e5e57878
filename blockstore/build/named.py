"""Things named on the command line: `package.module:factory?argument=value&...`."""

from __future__ import annotations

import importlib
import inspect
from typing import Any
from urllib.parse import parse_qsl

from blockstore.errors import BlockStoreError, CannotBuild


def call(spec: str) -> Any:
    """What the factory of `spec` returns.

    Arguments follow a question mark as in a URL: `blockstore.zoo.datasets:cifar10?path=data/cifar10&limit=5000`.
    Whole numbers become int, everything else stays text.
    """
    location, _, query = spec.partition("?")
    module_name, colon, attribute = location.partition(":")
    if not (colon and module_name and attribute):
        raise CannotBuild(f"{spec!r} is not of the form package.module:factory or package.module:factory?name=value")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise CannotBuild(f"cannot import {module_name!r} for {spec!r}: {error}") from error
    except AttributeError as error:
        raise CannotBuild(f"module {module_name!r} has no {attribute!r}") from error
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
