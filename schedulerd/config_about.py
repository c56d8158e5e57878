"""What a field of the configuration says about its key, for every file that declares some."""

from __future__ import annotations

from typing import Any

from schedulerd.kinds import Kind


def about(kind: Kind, help_: str, *, key: str = "", shown: str = "", live: bool = False) -> dict[str, Any]:
    """Metadata of a field; `key` and `shown` only where they are not the field's name and default.

    `live`: a reload applies it, see `schedulerd.reloading`.
    """
    return {"kind": kind, "help": help_, "key": key, "shown": shown, "live": live}
