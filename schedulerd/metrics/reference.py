"""The tables of docs/metrics.md, written from the table of metrics so that they never drift.

python -m schedulerd.metrics.reference
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from schedulerd.metrics.families import GROUPS
from schedulerd.metrics.family import Family


def markdown() -> str:
    """One table a group: name, type, labels, meaning."""
    return "\n\n".join(_table(title, families) for title, families in GROUPS.items()) + "\n"


def _table(title: str, families: Sequence[Family]) -> str:
    rows = (f"| `{f.name}` | {f.kind} | {', '.join(f'`{name}`' for name in f.labels)} | {f.help} |" for f in families)
    return "\n".join(
        (f"### {title}", "", "| metric | type | labels | what it is |", "| --- | --- | --- | --- |", *rows)
    )


if __name__ == "__main__":
    sys.stdout.write(markdown())
