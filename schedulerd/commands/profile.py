"""`schedulerd profile`: measure what the variants and exits in the store cost on this board, and show it."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedulerd.commands.tables import size_text, table

if TYPE_CHECKING:
    from blockprofiles.table import Table
    from blockstore.block import Artifact, Model
    from blockstore.errors import BlockStoreError
    from blockstore.store import Store
    from schedulerd.config import Config


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `profile` and its options."""
    help_ = "measure the store on this board, unless that was done before"
    parser = subparsers.add_parser("profile", help=help_, description=help_)
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (TOML)")
    parser.add_argument("--store", type=Path, metavar="DIR", help="block store, instead of paths.store")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where profiles are kept, instead of paths.state")
    parser.add_argument("--engine", choices=("onnxruntime", "torch"), help="instead of engine.name")
    parser.add_argument("--threads", type=_threads, metavar="N", help="instead of engine.threads_per_lane")
    parser.add_argument("--seconds", type=_seconds, metavar="S", help="instead of profile.seconds")
    parser.add_argument("--force", action="store_true", help="measure what was measured before, too")
    parser.add_argument("--json", action="store_true", help="print JSON, with every sample")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure what the cached profile lacks and print all of it; 1 when some of it could not be measured."""
    from blockprofiles.cache import table_path
    from blockstore.store import Store
    from schedulerd import config as configuration
    from schedulerd import logs

    config = configuration.load(args.config)
    logs.configure("warning", "auto")
    with Store.open((args.store or config.paths.store).absolute()) as store:
        models = tuple(store.whole_models(_left_out).values())
        directory = (args.state or config.paths.state).absolute() / "profiles"
        measured = _measure(args, config, store, models, directory)
    rows = list(_rows(models, measured))
    if args.json:
        print(json.dumps(_document(measured, table_path(directory, measured.device), rows), indent=1))
    else:
        print("\n".join(_lines(measured, table_path(directory, measured.device), rows)))
    return 0 if all(row["measured"] for row in rows) else 1


def _measure(
    args: argparse.Namespace, config: Config, store: Store, models: tuple[Model, ...], directory: Path
) -> Table:
    from blockprofiles.cache import load_or_measure
    from blockprofiles.device import usable_cores
    from schedulerd.bar import Bar
    from schedulerd.serving.engines.factory import make_engine

    threads = args.threads or config.engine.threads(usable_cores())
    engine = make_engine(args.engine or config.engine.name, threads)
    budget_s = args.seconds or config.profile.seconds
    label = f"measuring on {engine.name} {engine.version()}, at most about {budget_s:g} s"
    with Bar(label, sys.stderr) as bar:
        return load_or_measure(
            models,
            engine,
            store.path,
            cache_directory=directory,
            threads=threads,
            budget_s=budget_s,
            progress=bar,
            force=args.force,
        )


def _left_out(name: str, error: BlockStoreError) -> None:
    print(f"schedulerd: model {name} is left out: {error}", file=sys.stderr)


def _rows(models: tuple[Model, ...], measured: Table) -> Iterator[dict[str, Any]]:
    """One for each variant and each exit that the engine has an artifact for, in the order of the store."""
    engine = measured.device.engine
    for model in models:
        for block in model.blocks:
            for variant in block.variants:
                if artifact := variant.artifact(engine):
                    yield _row(measured, artifact, model=model.name, block=block.index, variant=variant.name, exit=None)
        for e in model.exits:
            if artifact := e.artifact(engine):
                yield _row(measured, artifact, model=model.name, block=e.block, variant=None, exit=e.name)


def _row(measured: Table, artifact: Artifact, **place: str | int | None) -> dict[str, Any]:
    row = None if measured.missing([artifact.digest]) else measured.row(artifact.digest)
    return {
        **place,
        "digest": artifact.digest,
        "measured": row is not None,
        "latency_ms": row and row.latency_ms,
        "latency_p95_ms": row and row.latency_p95_ms,
        "memory_bytes": row and row.memory_bytes,
        "samples_ms": row and row.samples_ms,
    }


def _document(measured: Table, path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "device": asdict(measured.device),
        "fingerprint": measured.device.fingerprint,
        "measured_at": measured.measured_at,
        "file": str(path),
        "rows": rows,
    }


def _lines(measured: Table, path: Path, rows: list[dict[str, Any]]) -> list[str]:
    device = measured.device
    cells = [(row["model"], str(row["block"]), row["variant"] or f"exit {row['exit']}", *_figures(row)) for row in rows]
    header = ("MODEL", "BLOCK", "VARIANT", "MS", "P95", "MEMORY")
    return [
        *table(header, cells, numbers=("BLOCK", "MS", "P95", "MEMORY")),
        "",
        f"{device.cpu_model}, {device.cores} cores, governor {device.governor or 'unknown'}; "
        f"{device.engine} {device.engine_version}, threads per block: {device.threads}",
        f"measured {measured.measured_at}, kept in {path}",
    ]


def _figures(row: dict[str, Any]) -> tuple[str, str, str]:
    if not row["measured"]:
        return "-", "-", "-"
    return f"{row['latency_ms']:.3f}", f"{row['latency_p95_ms']:.3f}", size_text(row["memory_bytes"])


def _threads(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 256:
        raise argparse.ArgumentTypeError(f"{value} threads make no sense; give 1 to 256")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise argparse.ArgumentTypeError(f"{text} s is no time to measure in; give more than 0")
    return value
