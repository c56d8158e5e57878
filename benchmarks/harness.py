"""What every benchmark shares: figures with targets, the machine they were measured on, the command line."""

from __future__ import annotations

import argparse
import json
import operator
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

_IDLE, _IOWAIT, _STEAL = 3, 4, 7
"""Places in a line of /proc/stat."""

PACKAGES = ("numpy", "onnxruntime", "pulp", "highspy", "pyzmq", "msgpack", "torch")


@dataclass(frozen=True)
class Target:
    """What a figure should be: at most or at least a limit."""

    relation: str
    """`<=` or `>=`."""
    limit: float

    def met(self, value: float) -> bool:
        """Whether a value is on the right side of the limit."""
        return {"<=": operator.le, ">=": operator.ge}[self.relation](value, self.limit)

    def __str__(self) -> str:
        return f"{self.relation}{self.limit:g}"


@dataclass(frozen=True)
class Figure:
    """One measured number with its raw samples; `value` None needs a `reason`."""

    value: float | None
    unit: str
    target: Target | None = None
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    reason: str | None = None

    def line(self, name: str) -> str:
        """`figure value unit target met|short`."""
        if self.value is None:
            return f"{name} - {self.unit} {self.target or '-'} not measured: {self.reason}"
        verdict = "-" if self.target is None else "met" if self.target.met(self.value) else "short"
        return f"{name} {self.value:.4g} {self.unit} {self.target or '-'} {verdict}"


@dataclass(frozen=True)
class Options:
    """The command line of a benchmark."""

    only: tuple[str, ...]
    quick: bool
    stores: tuple[Path, ...] = ()
    """That were given, for benchmarks that take some."""
    soak_s: float | None = None
    """How long a soak is to take, for benchmarks that have one; None leaves it to them."""

    def wants(self, *figures: str) -> bool:
        """Whether any of these figures was asked for."""
        return not self.only or any(f in self.only for f in figures)


def main(
    name: str,
    known: Sequence[str],
    measure: Callable[[Options], Mapping[str, Figure]],
    *,
    stores: bool = False,
    soak: bool = False,
) -> int:
    """Parse the command line, measure, print, write.

    With `stores` it takes directories of block stores too, with `soak` the seconds of a soak.
    """
    parser = argparse.ArgumentParser(prog=f"benchmarks.{name}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures, samples, machine and versions")
    parser.add_argument("--only", nargs="+", choices=known, default=(), metavar="FIGURE", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="fewer samples: does it run?")
    if stores:
        parser.add_argument("--store", type=Path, action="append", metavar="DIR", help="a further store; repeatable")
    if soak:
        parser.add_argument("--soak", type=float, metavar="SECONDS", help="how long to soak, such as 3600")
    args = parser.parse_args()
    given = (args.store or []) if stores else []
    stores_given = tuple(path.absolute() for path in given)
    before = jiffies()
    figures = measure(Options(tuple(args.only), args.quick, stores_given, args.soak if soak else None))
    for figure_name, figure in figures.items():
        print(figure.line(figure_name), flush=True)
    if args.json:
        document = {
            "name": name,
            "machine": {**machine(), "stolen_share": stolen_share(before, jiffies())},
            "versions": versions(),
            "commit": commit(),
            "quick": args.quick,
            "figures": {n: {**asdict(f), "target": str(f.target) if f.target else None} for n, f in figures.items()},
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def kept(names: Sequence[str], figures: Callable[[], Mapping[str, Figure]]) -> Mapping[str, Figure]:
    """What `figures` gives, shown at once; where it fails, the reason for each of `names`, so other parts go on."""
    try:
        found = figures()
    except Exception as error:  # whatever it is, what was measured before took long
        return {name: Figure(None, "-", reason=f"{type(error).__name__}: {error}") for name in names}
    for name, figure in found.items():
        print(figure.line(name), file=sys.stderr, flush=True)
    return found


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    total = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": model[0] if model else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": total[0] if total else None,
        "system": platform.platform(),
        "load_1min": os.getloadavg()[0],
    }


def jiffies() -> tuple[int, ...]:
    """Of all cores since the start: user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)); or none."""
    return next((tuple(map(int, line.split()[1:9])) for line in _lines("/proc/stat") if line.startswith("cpu ")), ())


def stolen_share(before: Sequence[int], after: Sequence[int]) -> float | None:
    """Of the time that the cores wanted to work, the share in which a hypervisor gave them to somebody else.

    A figure of a run in which that was much says as much of the host as of us. None where it cannot be read.
    """
    passed = [b - a for a, b in zip(before, after, strict=False)]
    if len(passed) < _STEAL + 1:
        return None
    wanted = sum(passed) - passed[_IDLE] - passed[_IOWAIT]
    return passed[_STEAL] / wanted if wanted > 0 else 0.0


def versions() -> dict[str, str]:
    """Python and the libraries that matter."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def commit() -> str | None:
    """The commit of the tree, with `+` where it has changes; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
