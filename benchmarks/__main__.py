"""Run every benchmark, each in a process of its own; `--json DIR` writes one file each."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

ALL = (
    *("main_job", "cifar10", "builder", "onnx_models", "dpruner", "exits", "costs", "optimizer", "serving"),
    *("control", "operate"),
)
TIMEOUT_S = 9000
"""D-Pruner takes an hour and a half from nothing."""


def main() -> int:
    """0 when every benchmark ran; what its figures say is not judged here."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="DIR", help="write DIR/NAME.json")
    parser.add_argument("--quick", action="store_true", help="fewer samples: does it run?")
    args = parser.parse_args()
    failed = 0
    for name in ALL:
        command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if args.quick else [])]
        if args.json:
            command += ["--json", str(args.json / f"{name}.json")]
        failed += not _ran(command)
    return 1 if failed else 0


def _ran(command: list[str]) -> bool:
    """Whether `command` ended well, in time; what it has started ends with it."""
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            return process.wait(TIMEOUT_S) == 0
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            print(f"{' '.join(command)}: stopped after {TIMEOUT_S} s", file=sys.stderr)
            return False


if __name__ == "__main__":
    sys.exit(main())
