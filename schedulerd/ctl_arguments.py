"""What people type at `schedctl`: budgets, sizes and apps to be, refused with an example of what is right."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from schedulerd.errors import ConfigError
from schedulerd.typed import did_you_mean, parse_duration_ms, parse_rate_hz, parse_size
from schedulerd.wire.messages import Addition

_ANY_COLUMNS = 80


class Parser(argparse.ArgumentParser):
    """Names the nearest choice when a word is mistyped, and asks how wide the terminal is only when it prints help.

    argparse makes a formatter of every argument, to see that it could, which would look up the terminal each time.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=partial(argparse.HelpFormatter, width=_ANY_COLUMNS), **settings)

    def format_help(self) -> str:
        """As the base class, as wide as the terminal."""
        self.formatter_class = argparse.HelpFormatter
        return super().format_help()

    def format_usage(self) -> str:
        """As the base class, as wide as the terminal."""
        self.formatter_class = argparse.HelpFormatter
        return super().format_usage()

    def error(self, message: str) -> NoReturn:
        """As the base class; what there is to choose from is in its message."""
        mistyped = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if mistyped:
            message += did_you_mean(mistyped[1], re.findall(r"[\w-]+", mistyped[2]))
        super().error(message)


def size(text: str) -> int | None:
    """Bytes; None for `auto`."""
    return None if text == "auto" else parse_size(text)


def budget_of(text: str) -> tuple[str, float]:
    """An app and its budget: the name may have a `=` of its own."""
    app, separator, budget = text.rpartition("=")
    if not app or not separator:
        raise ConfigError(f"{text!r} is not an app and a budget; write for example cam1=20ms")
    return app, parse_duration_ms(budget)


def pin_of(text: str) -> tuple[str, str]:
    """A block and its variant: the variant's name may have a `=` of its own."""
    block, _, variant = text.partition("=")
    if not block or not variant:
        raise ConfigError(f"{text!r} is not a block and a variant; write for example 3=original")
    return block, variant


def addition(text: str) -> Addition:
    """A model, a budget and a rate: the model's name may have a `:` of its own."""
    parts = text.rsplit(":", 2)
    if len(parts) < 3 or not parts[0]:
        raise ConfigError(f"{text!r} is not a model, a budget and a rate; write for example digits-residual:50ms:15Hz")
    model, budget, rate = parts
    return Addition(model, parse_duration_ms(budget), parse_rate_hz(rate))


def count(text: str) -> int:
    """How many."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """A time-out."""
    try:
        return parse_duration_ms(text + "s") / 1e3
    except ConfigError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0") from None


def checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """A parser whose refusal argparse shows in full."""

    def checked(text: str) -> Any:
        try:
            return parse(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked
