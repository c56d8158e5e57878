"""`schedulerd build`: cut a trained network into blocks, make variants of each, and put the model in a store."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedulerd.commands.tables import RESTART_NOTE, size_text, table

if TYPE_CHECKING:
    from blockstore.build.pipeline import Built
    from blockstore.build.settings import BuildSettings

_DESCRIPTION = """
Cuts a trained network into a chain of blocks, makes structurally pruned variants of each block, retrains every
variant against its original block, exports all of them for onnxruntime and torch, measures accuracy on held-out
images and puts the model in a block store. An interrupted build goes on at the epoch where it stopped when the same
command is given again; the store has the model only when all is done.
"""
_EXAMPLE = """
for example, in seconds, from one of the demo's networks, untrained, and a few of its images:
  schedulerd build --model blockstore.zoo.digit_networks:residual --input 144x144x1 --name tiny --blocks 2 \\
    --data 'blockstore.zoo.datasets:digits?train_limit=32&test_limit=32' --ratios 0.5 --epochs 1

Images of your own: a factory in a module of yours that returns an object with
  classes     name of each label
  train()     images to retrain on       both with `.images` uint8 [n, height, width, channels]
  held_out()  images to measure on       and `.labels` int64 [n]
"""
_FACTORY = "package.module:factory, with arguments as package.module:factory?name=value&name=value"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `build` and its options."""
    parser = subparsers.add_parser(
        "build",
        help="make a model of blocks from a network",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    what = parser.add_argument_group("what is built")
    what.add_argument("--model", required=True, metavar="FACTORY", help=f"the network (torch.nn.Module): {_FACTORY}")
    what.add_argument("--weights", type=Path, metavar="FILE", help="its weights (safetensors)")
    what.add_argument("--input", required=True, type=_shape, metavar="HxWxC", help="frames it takes (uint8): 32x32x3")
    what.add_argument(
        "--mean", type=_numbers, metavar="M,..", help="per channel (default 0): (pixel / scale - mean) / std"
    )
    what.add_argument("--std", type=_numbers, metavar="S,..", help="per channel (default 1)")
    what.add_argument("--scale", type=float, default=255.0, metavar="X", help="pixels are divided by it (default 255)")
    what.add_argument(
        "--data", required=True, metavar="FACTORY", help="labelled images, named in the same way (see below)"
    )
    what.add_argument("--name", required=True, type=_name, help="name of the model in the store")
    what.add_argument("--store", type=Path, metavar="DIR", help="block store, instead of the default one")
    how = parser.add_argument_group("how")
    how.add_argument("--blocks", type=int, default=4, metavar="N", help="number of blocks (default 4)")
    how.add_argument(
        "--ratios",
        type=_numbers,
        default=(0.25, 0.5, 0.75),
        metavar="R,..",
        help="share of its inner filters that each variant loses (default 0.25,0.5,0.75)",
    )
    how.add_argument(
        "--width-multiple", type=int, default=4, metavar="N", help="keep filters in multiples of N (default 4)"
    )
    how.add_argument("--importance", choices=("l1", "l2"), default="l1", help="norm that ranks filters (default l1)")
    how.add_argument("--epochs", type=int, default=4, metavar="N", help="epochs of retraining (default 4)")
    how.add_argument("--batch-size", type=int, default=32, metavar="N", help="(default 32)")
    how.add_argument("--learning-rate", type=float, default=1e-3, metavar="X", help="(default 0.001)")
    how.add_argument(
        "--check-routes", type=int, default=16, metavar="N", help="routes that check predictions (default 16)"
    )
    how.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads (default 2)")
    how.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to retrain (default auto)"
    )
    how.add_argument("--seed", type=int, default=0, metavar="N", help="same seed, same model (default 0)")
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")


def run(args: argparse.Namespace) -> int:
    """Build, then print what came of it."""
    from schedulerd import logs
    from schedulerd.config import default_store_directory

    logs.configure("warning", "auto")
    settings = _settings(args)
    built = _build(args, settings, (args.store or default_store_directory()).absolute())
    if args.json:
        print(json.dumps(_document(built), indent=1))
    else:
        print("\n".join(_lines(built)))
    return 0


def _build(args: argparse.Namespace, settings: BuildSettings, root: Path) -> Built:
    _require_extra()
    # Before torch is imported. Threads that spin while they wait take the cores from each other: with another busy
    # process on two cores, batches took ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from blockstore.build import named, pipeline
    from blockstore.build.allocator import keep_freed_memory
    from blockstore.build.progress import shown
    from blockstore.store import Store

    keep_freed_memory()
    # A user's own network and images are found as `python -m` would find them.
    sys.path.insert(0, str(Path.cwd()))
    network, data = named.call(args.model), named.call(args.data)
    if args.weights:
        pipeline.load_weights(network, args.weights)
    with shown() as progress, Store.open(root, create=True) as store:
        return pipeline.build(network, data, settings, store, root / "build", progress)


def _require_extra() -> None:
    """The builder's packages come with an extra."""
    from importlib.util import find_spec

    from blockstore.errors import CannotBuild

    missing = [name for name in ("torch", "torch_pruning", "safetensors", "sklearn", "PIL") if not find_spec(name)]
    if missing:
        raise CannotBuild(
            f"building needs {', '.join(missing)}: `make install-dev` in a clone, or pip install 'schedulerd[build]'"
        )


def _settings(args: argparse.Namespace) -> BuildSettings:
    from blockstore.block import TensorSpec
    from blockstore.build.settings import BuildSettings

    channels = args.input[2]
    return BuildSettings(
        name=args.name,
        input=TensorSpec("uint8", args.input),
        mean=args.mean or (0.0,) * channels,
        std=args.std or (1.0,) * channels,
        scale=args.scale,
        blocks=args.blocks,
        ratios=args.ratios,
        width_multiple=args.width_multiple,
        importance=args.importance,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        check_routes=args.check_routes,
        threads=args.threads,
        device=args.device,
        seed=args.seed,
    )


def _document(built: Built) -> dict[str, Any]:
    return {**json.loads(built.model.to_json()), "skipped": [asdict(s) for s in built.skipped]}


def _lines(built: Built) -> list[str]:
    model, accuracy = built.model, built.accuracy
    header = ("block", "variant", "parameters", "multiply-adds", "accuracy drop", "size")
    rows = [
        (
            f"{block.index} {block.name}" if variant is block.variants[0] else "",
            variant.name,
            f"{variant.parameters:,}",
            f"{variant.multiply_adds:,}",
            f"{variant.accuracy_drop:.4f}",
            size_text(sum(a.size_bytes for a in variant.artifacts)),
        )
        for block in model.blocks
        for variant in block.variants
    ]
    lines = [
        f"{model.name}: accuracy {model.accuracy:.4f} on {model.evaluated_images} held-out images",
        *table(header, rows, numbers=header[2:]),
    ]
    if accuracy.checked_routes:
        lines.append(
            f"sums of drops are off by {accuracy.error:.4f} on average over {accuracy.checked_routes} other routes"
        )
    lines.append(RESTART_NOTE)
    return lines + [f"no variant of block {s.block} at ratio {s.ratio}: {s.reason}" for s in built.skipped]


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
