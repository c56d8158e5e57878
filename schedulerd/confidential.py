"""What must not be shown: values whose name says that they are secret. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

BLANK: Final = "(not shown)"
_SECRET: Final = re.compile(
    r"(?:^|_)(?:secrets?|passwords?|passphrases?|tokens?|credentials?|keys?)(?:_|$)", re.IGNORECASE
)
_OPEN: Final = re.compile(r"(?:^|_)public(?:_|$)", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether a name such as `secret_key` or `auth_token` is that of a secret; a public key is none."""
    return _SECRET.search(name) is not None and _OPEN.search(name) is None


def blanked(value: Any) -> Any:
    """The same with every secret in it blanked, however deep it lies."""
    if isinstance(value, dict):
        return {key: BLANK if is_secret(str(key)) else blanked(one) for key, one in value.items()}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(blanked, value))
    return value
