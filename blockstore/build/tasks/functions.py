"""Functions of the user's own, named as `package.module:function`."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockstore.errors import BlockStoreError, CannotBuild


@dataclass(frozen=True, slots=True)
class NamedFunction:
    """A function with the name that it was found under."""

    name: str
    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """What the function gives; what it raises becomes `CannotBuild`."""
        try:
            return self.function(*arguments)
        except BlockStoreError:
            raise
        # It is the user's own code, and may raise anything.
        except Exception as error:
            raise CannotBuild(f"{self.name} failed: {type(error).__name__}: {error}") from error

    @property
    def key(self) -> str:
        """Name and hash of the file it is in: measurements made with other code are not taken for these."""
        try:
            file = inspect.getsourcefile(inspect.unwrap(self.function))
        except TypeError:
            # Written in C, or made by a class: its name has to do.
            return self.name
        if file is None or not Path(file).is_file():
            return self.name
        return f"{self.name}#{hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]}"


def find(name: str, arguments: int) -> NamedFunction:
    """The function called `name`, which takes `arguments` positional arguments; else `CannotBuild`."""
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        raise CannotBuild(f"{name!r} is not of the form package.module:function")
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise CannotBuild(f"cannot import {module_name!r} for {name!r}: {error}") from error
    except AttributeError as error:
        raise CannotBuild(f"module {module_name!r} has no {attribute!r}") from error
    if not callable(function):
        raise CannotBuild(f"{name} is a {type(function).__name__}, not a function")
    _check_arguments(name, function, arguments)
    return NamedFunction(name, function)


def _check_arguments(name: str, function: Callable[..., Any], arguments: int) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Written in C without a signature: the first call will tell.
        return
    try:
        signature.bind(*range(arguments))
    except TypeError as error:
        raise CannotBuild(f"{name} takes {signature}, it is called with {arguments} arguments: {error}") from error
