"""`schedulerd build`: cut a trained network into blocks, make variants of each, and put the model in a store."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from blockstore.block import TensorSpec
from blockstore.build.settings import BuildSettings
from blockstore.errors import CannotBuild
from schedulerd.commands import exit_options
from schedulerd.commands.build_output import document, explained, lines

if TYPE_CHECKING:
    from torch import nn

    from blockstore.build.built import Built
    from blockstore.build.explain import Explanation
    from blockstore.build.images import ImageSet

_DESCRIPTION = """
Cuts a trained network into a chain of blocks, makes variants of each block, retrains every variant against its original
block, exports all of them for onnxruntime and torch, measures accuracy on held-out images and puts the model in a block
store, with a report beside it. An interrupted build goes on from its last whole epoch when the same command is given
again; the store has the model only when all is done.
"""
_EXAMPLE = """
kinds of variants, to be joined by +, as in skip:1+prune:0.5+int8:
  prune:RATIO[,l1|l2|activation]  fewer filters inside the block (LegoDNN)
  skip:N                          without N of its residual units
  tucker2:SHARE                   convolutions factored, keeping that share of the variance (DeepMon)
  dpruner:SHARE[,T]               a trained mask hides SHARE of the filters of each image: without those hidden
                                  in more than T (default 0.95) of the images (D-Pruner)
  fp16, fp16-greedy:LOSS          FP16 weights: all, or as many as cost no more accuracy than LOSS (DeepSense)
  int8[:IMAGES]                   static quantisation, with the ranges that so many images give (default 128)

for example, in seconds, from one of the demo's networks, untrained, and a few of its images:
  schedulerd build --model blockstore.zoo.digit_networks:residual --input 144x144x1 --name tiny --blocks 2 \\
    --data 'blockstore.zoo.datasets:digits?train_limit=32&test_limit=32' --variants prune:0.5 int8 --epochs 1

Images of your own: a factory in a module of yours that returns an object with
  classes       name of each label
  train()       images to retrain on       each with `.images` uint8 [n, height, width, channels]
  held_out()    images to measure on       and `.labels`: int64 [n], boxes (detection), or None
  validation()  images to search the thresholds of exits on; without it, half of held_out()

--recipe FILE takes options from a TOML file by their long names: blocks = 5, variants = ["skip:1", "int8"]
"""
_FACTORY = "package.module:factory, with arguments as package.module:factory?name=value&name=value"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `build` and its options; returns its parser, whose options a recipe may have."""
    parser = subparsers.add_parser(
        "build",
        help="make a model of blocks from a network",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # A recipe is looked for by its whole name, before anything is parsed.
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    _add_what(parser.add_argument_group("what is built"))
    _add_how(parser.add_argument_group("how"))
    exit_options.add(parser.add_argument_group("exits, at which easy frames leave"))
    parser.add_argument("--recipe", metavar="FILE", help="options from a TOML file; those given here win")
    parser.add_argument("--explain", action="store_true", help="print the legal cuts and the blocks, build nothing")
    parser.add_argument("--json", action="store_true", help="print the manifest (or the explanation) as JSON")
    return parser


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model",
        required=True,
        metavar="FACTORY",
        help=f"the network: an .onnx file, or a torch.nn.Module as {_FACTORY}",
    )
    group.add_argument("--weights", type=Path, metavar="FILE", help="its weights (safetensors)")
    group.add_argument("--input", required=True, type=_shape, metavar="HxWxC", help="frames it takes (uint8): 32x32x3")
    group.add_argument(
        "--mean", type=_numbers, metavar="M,..", help="per channel (default 0): (pixel / scale - mean) / std"
    )
    group.add_argument("--std", type=_numbers, metavar="S,..", help="per channel (default 1)")
    group.add_argument("--scale", type=float, default=255.0, metavar="X", help="pixels are divided by it (default 255)")
    group.add_argument("--data", metavar="FACTORY", help="images, named in the same way (see below)")
    group.add_argument(
        "--task",
        default="classification",
        help="classification (default), detection?decode=package.module:function, embedding, or your own metric as"
        " package.module:function of (outputs, outputs of the original, labels)",
    )
    group.add_argument(
        "--name", type=_name, help="name of the model in the store, by which apps register (needed to build)"
    )
    group.add_argument("--store", type=Path, metavar="DIR", help="block store, instead of the default one")
    group.add_argument(
        "--report", type=Path, metavar="DIR", help="for the report (default: STORE-reports/NAME beside the store)"
    )


def _add_how(group: argparse._ArgumentGroup) -> None:
    default = {field.name: field.default for field in dataclasses.fields(BuildSettings)}

    def number(name: str, kind: type, help_: str) -> None:
        option = f"--{name.replace('_', '-')}"
        group.add_argument(
            option,
            type=kind,
            default=default[name],
            metavar="N" if kind is int else "X",
            help=f"{help_} (default %(default)s)",
        )

    number("blocks", int, "number of blocks")
    group.add_argument(
        "--cuts", nargs="+", default=(), metavar="LAYER", help="cut after these layers instead (see --explain)"
    )
    group.add_argument(
        "--variants",
        nargs="+",
        default=default["variants"],
        metavar="RECIPE",
        help="variants of each block (see below)",
    )
    group.add_argument(
        "--finetune",
        nargs="+",
        default=(),
        metavar="RECIPE",
        help="afterwards refine the routes that have one of these variants in every block, on the training labels",
    )
    number("width_multiple", int, "keep widths in multiples of N where that is no slower")
    number("epochs", int, "epochs of retraining, at most")
    number("batch_size", int, "images of a step")
    number("learning_rate", float, "highest learning rate")
    number("patience", int, "epochs without a gain after which a variant is done")
    number("min_gain", float, "share by which the error on the validation images must fall to count as a gain")
    number("validation_images", int, "training images that nothing is trained on: they say when to stop")
    number("calibration_images", int, "training images that kinds of variants look at")
    number("fit_routes", int, "combinations measured for the accuracy model")
    number("check_routes", int, "further ones that check it")
    number("threads", int, "CPU threads of each process")
    number("processes", int, "processes that retrain")
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to retrain (default auto)"
    )
    number("seed", int, "of shuffling and initial weights")


def run(args: argparse.Namespace) -> int:
    """Build, then print what came of it; with `--explain` only say where the network can be cut."""
    from schedulerd import logs

    logs.configure("warning", "auto")
    _require_extra()
    # Before torch is imported. Threads that spin while they wait take the cores from each other: with another busy
    # process on two cores, batches took ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A user's own network and images are found as `python -m` would find them.
    sys.path.insert(0, str(Path.cwd()))
    if args.explain:
        explanation = _explanation(args)
        print(json.dumps(dataclasses.asdict(explanation), indent=1) if args.json else "\n".join(explained(explanation)))
        return 0
    missing = [name for name in ("data", "name") if getattr(args, name) is None]
    if missing:
        raise CannotBuild(f"give --{' and --'.join(missing)}, or --explain to see where the network can be cut")
    try:
        built, report = _build(args)
    except KeyboardInterrupt:
        print("schedulerd: what is done is kept: give the same command again to go on", file=sys.stderr)
        raise
    print(json.dumps(document(built, report), indent=1) if args.json else "\n".join(lines(built, report)))
    return 0


def _build(args: argparse.Namespace) -> tuple[Built, Path]:
    from blockstore.build import named, pipeline, report
    from blockstore.build.allocator import keep_freed_memory
    from blockstore.build.progress import shown
    from blockstore.store import Store
    from schedulerd.commands.timing import time_variants
    from schedulerd.config import default_store_directory

    keep_freed_memory()
    root = (args.store or default_store_directory()).resolve()
    network = _network(args)
    data: ImageSet = named.call(args.data)
    folder = args.report or root.parent / f"{root.name or 'store'}-reports" / args.name
    with shown() as progress, Store.open(root, create=True) as store:
        built = pipeline.build(
            network,
            data,
            _settings(args),
            store,
            root / "build",
            progress,
            timer=time_variants,
            tell=lambda built: report.write(built, folder),
        )
    return built, folder / report.NAME


def _network(args: argparse.Namespace) -> nn.Module:
    """What `--model` names, with its weights."""
    from blockstore.build import named, weights
    from blockstore.build.onnximport.importer import import_onnx

    if args.model.endswith(".onnx"):
        if args.weights:
            raise CannotBuild(f"{args.model} has its weights inside: leave --weights out")
        return import_onnx(Path(args.model))
    network: nn.Module = named.call(args.model)
    return weights.load_weights(network, args.weights) if args.weights else network


def _require_extra() -> None:
    """The builder's packages come with an extra."""
    from importlib.util import find_spec

    packages = ("torch", "torch_pruning", "tensorly", "onnx", "safetensors", "sklearn", "PIL", "matplotlib")
    missing = [name for name in packages if not find_spec(name)]
    if missing:
        raise CannotBuild(
            f"building needs {', '.join(missing)}: `make install-dev` in a clone, or pip install 'schedulerd[build]'"
        )


def _settings(args: argparse.Namespace) -> BuildSettings:
    """Every field that is an option by its own name, and the few that are not."""
    channels = args.input[2]
    own = {
        "name": args.name or "explained",
        "input": TensorSpec("uint8", args.input),
        "mean": args.mean or (0.0,) * channels,
        "std": args.std or (1.0,) * channels,
        "cuts": tuple(args.cuts),
        "variants": tuple(args.variants),
        "finetune": tuple(args.finetune),
        "exits": exit_options.settings(args),
    }
    names = {field.name for field in dataclasses.fields(BuildSettings)} - own.keys()
    return BuildSettings(**own, **{name: value for name, value in vars(args).items() if name in names})


def _explanation(args: argparse.Namespace) -> Explanation:
    from blockstore.build import pipeline
    from blockstore.build.explain import explain
    from blockstore.build.latency import median_ms

    settings = _settings(args)
    traced = pipeline.trace_network(_network(args), settings)
    return explain(traced, pipeline.divide(traced, settings), median_ms)


def _shape(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if not match or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"{text!r} is not height x width x channels, as in 32x32x3")
    height, width, channels = (int(n) for n in match.groups())
    return height, width, channels


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers, as in 0.25,0.5") from error


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: letters, digits, dot, dash and underscore, at most 100")
    return text
