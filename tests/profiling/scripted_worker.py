"""A worker that does what the names of the blobs say: `segv`, `hang`, `exit3`, `term` and the like; others take 1 ms.

Run as a file, with the folder in which it notes down what it was told and what it began.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from blockprofiles.contention import Contention, Point, Slowdown
from blockprofiles.events import Begun, Curves, Done, Event, Fault, Progress, Rows, to_line
from blockprofiles.record import Row
from blockprofiles.table import Unusable
from schedulerd.profiling.parent import end_with_parent

HANG_S = 60.0


def say(event: Event) -> None:
    """Tell the parent."""
    os.write(1, to_line(event))


def row(digest: str, job: dict[str, Any], others: float | None = None) -> Row:
    """A finished row."""
    return Row(digest, job["engine"], job["threads"], 1.0, 2.0, 1000, (1.0,), uncertainty=0.001, others=others)


def run(digest: str, job: dict[str, Any], folder: Path) -> None:
    """One blob."""
    say(Begun(digest))
    with (folder / "begun").open("a") as file:
        file.write(f"{digest}\n")
    if digest.startswith("segv"):
        os.kill(os.getpid(), signal.SIGSEGV)
    elif digest.startswith("abort"):
        print("terminate called after throwing", file=sys.stderr, flush=True)
        os.abort()
    elif digest.startswith("exit3"):
        os._exit(3)
    elif digest.startswith("hang"):
        (folder / "hog").write_text(str(subprocess.Popen(["sleep", str(HANG_S)]).pid))
        time.sleep(HANG_S)
    elif digest.startswith("chatty"):
        end_s = time.monotonic() + HANG_S
        while time.monotonic() < end_s:
            os.write(1, b"loading weights\n")
            time.sleep(0.01)
    elif digest.startswith("termonce") and not (folder / "ended").exists():
        (folder / "ended").touch()
        os.kill(os.getpid(), signal.SIGTERM)
    elif digest.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif digest.startswith("fault"):
        say(Fault(Unusable(digest, "its output is wrong")))
        return
    elif digest.startswith("noise"):
        os.write(1, b'\xff\x00 not json\n{"event": "rows", "rows": [{}]}\n[]\n' + b"x" * 100_000 + b"\n")
    elif digest.startswith("slow"):
        for _ in range(10):
            time.sleep(0.05)
            say(Progress(0.5, 1.0))
    elif digest.startswith("wears"):
        wear_out(digest, announced=job["careful"])
    say(Begun(None))
    say(Rows((row(digest, job, others=0.4 if digest.startswith("busy") else None),)))
    if digest.startswith("later"):
        os.kill(os.getpid(), signal.SIGBUS)


def wear_out(digest: str, announced: bool) -> None:
    """Crash in a later run than the first, which is only announced when that was asked for."""
    say(Begun(None))
    if announced:
        say(Begun(digest))
    os.kill(os.getpid(), signal.SIGSEGV)


def main() -> None:
    """Measure what was asked for, in order."""
    end_with_parent(os.getppid())
    folder = Path(sys.argv[1])
    job = json.loads(sys.stdin.buffer.read())
    (folder / "job.json").write_text(json.dumps(job))
    if "mute" in sys.argv[2:]:
        time.sleep(HANG_S)
    for number, digest in enumerate(job["only"]):
        run(digest, job, folder)
        say(Progress((number + 1) / len(job["only"]), 0.0))
        if "slowly" in sys.argv[2:]:
            time.sleep(0.05)
    if job["contention"]:
        say(Curves(Contention(lanes=(Point(1.0, Slowdown()), Point(2.0, Slowdown(1.5, 2.0))), complete=True)))
    if "undone" not in sys.argv[2:]:
        say(Done())


if __name__ == "__main__":
    main()
