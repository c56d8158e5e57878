"""`schedulerd profile`: measure what the variants and exits in the store cost on this board, and show it."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blockstore.errors import BlockStoreError
    from blockstore.store import Store
    from schedulerd.config import Config
    from schedulerd.profiling.profile import Profile, Subject

STANDARD_SHARE = 10.0
"""An effort between the quick and the thorough one may take so many times the quick one's time."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `profile` and its options."""
    help_ = "measure the store on this board, as far as that was not done before"
    parser = subparsers.add_parser("profile", help=help_, description=f"{help_}. What was begun is gone on with.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration (TOML)")
    parser.add_argument("--store", type=Path, metavar="DIR", help="block store, instead of paths.store")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where profiles are kept, instead of paths.state")
    parser.add_argument("--engine", choices=("onnxruntime", "torch"), help="instead of engine.name")
    parser.add_argument("--threads", type=_threads, metavar="N", help="instead of engine.threads_per_lane")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument(
        "--quick", action="store_true", help="a part of the variants, in profile.seconds; the others are predicted"
    )
    effort.add_argument("--thorough", action="store_true", help="for as long as it takes to know each median well")
    parser.add_argument(
        "--seconds", type=_seconds, metavar="S", help="to measure in: profile.seconds with --quick, else ten times that"
    )
    parser.add_argument(
        "--batch", type=_batch, metavar="N", help="time runs of N frames as well; not with --quick, which predicts"
    )
    parser.add_argument("--force", action="store_true", help="measure what was measured before, too")
    files = parser.add_mutually_exclusive_group()
    files.add_argument("--export", type=Path, metavar="FILE", help="write the profile to a file for other boards")
    files.add_argument(
        "--import",
        type=Path,
        metavar="FILE",
        dest="bring",
        help="keep the profile of another board, for what is not measured here; measures nothing",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with every sample")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure what the cached profile lacks and print all of it; 1 when some of it could not be measured."""
    from blockstore.store import Store
    from schedulerd import config as configuration
    from schedulerd import logs
    from schedulerd.commands.profile_output import Result, exported

    config = configuration.load(args.config)
    logs.configure("warning", "auto")
    with Store.open((args.store or config.paths.store).absolute()) as store:
        subject = _subject(args, config, store)
        if args.bring:
            return _bring(args.bring, subject)
        profile = _profile(args, config, subject)
    result = Result(subject, profile.table, profile.path, profile.imported)
    print(json.dumps(result.document(), indent=1) if args.json else "\n".join(result.lines()))
    if args.export:
        # Last: where that file cannot be written the profile is shown all the same.
        exported(profile.table).save(args.export.absolute())
    return 0 if result.whole() else 1


def _subject(args: argparse.Namespace, config: Config, store: Store) -> Subject:
    from blockprofiles.device import usable_cores
    from schedulerd.profiling.profile import Subject
    from schedulerd.serving.engines.alternates import engines_for

    name = args.engine or config.engine.name
    device = config.engine.device if name == "torch" else "cpu"
    return Subject(
        models=tuple(store.whole_models(_left_out).values()),
        # The torch engine cannot stand beside itself.
        engines=engines_for(
            name,
            args.threads or config.engine.threads(usable_cores()),
            set(config.engine.also) - {name},
            device,
        ),
        path_of=store.path,
        directory=(args.state or config.paths.state).absolute() / "profiles",
        runs_on=device,
    )


def _profile(args: argparse.Namespace, config: Config, subject: Subject) -> Profile:
    from blockprofiles.effort import QUICK, STANDARD, THOROUGH
    from schedulerd.bar import Bar
    from schedulerd.errors import ConfigError
    from schedulerd.profiling.profile import Manner, Profile

    if args.quick and args.batch:
        raise ConfigError("--quick measures single frames only: leave it out, or --batch")
    effort = QUICK if args.quick else THOROUGH if args.thorough else STANDARD
    given_s = args.seconds or config.profile.seconds * (1 if args.quick else STANDARD_SHARE)
    budget_s = None if args.thorough and not args.seconds else given_s
    batches = (1, args.batch) if args.batch else (1,)
    manner = Manner(effort, budget_s, silence_s=config.profile.silence_s, force=args.force, batches=batches)
    main = subject.engines[0]
    limit = "for as long as it takes" if budget_s is None else f"at most about {budget_s:g} s"
    with Bar(f"measuring on {main.name} {main.version()}, {limit}", sys.stderr) as bar:
        profile = Profile(subject, manner, watch=lambda progress: bar(progress.share, progress.left_s))
        profile.run()
    return profile


def _bring(source: Path, subject: Subject) -> int:
    from blockprofiles.foreign import import_table

    imported = import_table(source, subject.directory, subject.device)
    device = imported.table.device
    print(
        f"{imported.rows} rows of {device.cpu_model} with {device.engine} {device.engine_version}, measured "
        f"{imported.table.measured_at}, are kept in {imported.path}\n"
        "they are used for what is neither measured nor predicted here, from the daemon's next start on"
    )
    return 0


def _left_out(name: str, error: BlockStoreError) -> None:
    print(f"schedulerd: model {name} is left out: {error}", file=sys.stderr)


def _threads(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 256:
        raise argparse.ArgumentTypeError(f"{value} threads make no sense; give 1 to 256")
    return value


def _batch(text: str) -> int:
    value = int(text)
    if not 2 <= value <= 256:
        raise argparse.ArgumentTypeError(f"batches of {value} frames make no sense; give 2 to 256")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise argparse.ArgumentTypeError(f"{text} s is no time to measure in; give more than 0")
    return value
