"""What systemd's own checkers say of the service's files, as `schedulerd install-units` puts them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from benchmarks.harness import Figure, Target
from schedulerd.units import files_folder, files_of, install

LIMIT = 1.5
"""What the issue asks of the default unit; a profile that opens devices or the network is held to the same."""
TIMEOUT_S = 60.0

_OVERALL = re.compile(r"Overall exposure level for \S+: ([\d.]+)")


def exposure(profile: str) -> Figure:
    """Exposure of the unit with the drop-in of a profile. Raises RuntimeError where `verify` finds anything."""
    with tempfile.TemporaryDirectory(prefix="schedulerd-units-") as name:
        unit = installed(Path(name), profile)
        complaints = verified(unit)
        if complaints:
            raise RuntimeError(f"systemd-analyze verify: {complaints}")
        value, open_ = assessed(unit)
    version = float(re.findall(r"systemd (\d+)", _analyze("--version"))[0])
    return Figure(value, "of 10", Target("<=", LIMIT), {"systemd": [version], **open_})


def installed(root: Path, *profiles: str) -> Path:
    """The unit below `root`, with a program that exists, because `verify` looks for it."""
    root.mkdir(exist_ok=True)
    program = PurePosixPath(str(shutil.which("true")))
    list(install(root, files_of(files_folder(), profiles, program), ""))
    return root / "usr/lib/systemd/system/schedulerd.service"


def verified(unit: Path) -> str:
    """What `systemd-analyze verify` finds wrong; empty for nothing."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return done.stderr.strip() or ("" if done.returncode == 0 else f"exit code {done.returncode}")


def assessed(unit: Path) -> tuple[float, dict[str, list[float]]]:
    """The exposure in all, and by name that of each setting which leaves something open."""
    table = _analyze("security", "--offline=true", "--no-pager", str(unit))
    overall = _OVERALL.search(table)
    if overall is None:
        raise RuntimeError(f"systemd-analyze security said no overall exposure: {table[-200:]!r}")
    rows: list[dict[str, Any]] = json.loads(_analyze("security", "--offline=true", "--json=short", str(unit)))
    return float(overall[1]), {row["name"]: [float(row["exposure"])] for row in rows if row["exposure"]}


def _analyze(*arguments: str) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    return done.stdout
