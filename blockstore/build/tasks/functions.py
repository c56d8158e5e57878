"""Functions of the user's own, named as `package.module:function`."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blockstore.build import named
from blockstore.errors import BlockStoreError, CannotBuild


@dataclass(frozen=True, slots=True)
class NamedFunction:
    """A function with the name that it was found under, which is what goes to other processes: it may be a lambda."""

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

    def __reduce__(self) -> tuple[Callable[[str], NamedFunction], tuple[str]]:
        return _named, (self.name,)

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
    found = _named(name)
    if not callable(found.function):
        raise CannotBuild(f"{name} is a {type(found.function).__name__}, not a function")
    _check_arguments(name, found.function, arguments)
    return found


def _named(name: str) -> NamedFunction:
    return NamedFunction(name, named.resolve(name))


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
