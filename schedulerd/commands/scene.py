"""`schedulerd scene`: a scripted load against a real daemon, and what came of it."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulerd.scenes.house import Setting
    from schedulerd.scenes.script import Scene

LONGEST, SHORTEST = 100.0, 0.01


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `scene` and its options."""
    help_ = "play a scripted load against a daemon of its own"
    parser = subparsers.add_parser("scene", help=help_, description=f"{help_}; docs/scenes.md describes the file.")
    parser.add_argument("scene", metavar="FILE|NAME", nargs="?", help="a scene's file, or the name of a shipped one")
    parser.add_argument("--list", action="store_true", help="the shipped scenes")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where store and profile are kept")
    parser.add_argument(
        "--runtime", type=Path, metavar="DIR", help="sockets of the daemon, default: a folder of its own"
    )
    parser.add_argument(
        "--seconds-scale", type=_scale, default=1.0, metavar="X", help="play it in X times its time (default 1)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what happened")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the timeline as a PNG")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play it; 0 when every process ended well and no request was lost."""
    from schedulerd.errors import ConfigError
    from schedulerd.scenes.document import document, lines
    from schedulerd.scenes.figures import figures
    from schedulerd.scenes.library import find, names
    from schedulerd.scenes.player import play
    from schedulerd.scenes.script import scaled
    from schedulerd.scenes.view import PlainView

    if args.list:
        print("\n".join(f"{name:<16} {find(name).seconds:>4.0f} s  {find(name).title}" for name in names()))
        return 0
    if args.scene is None:
        raise ConfigError(f"say which scene: a file, or one of {', '.join(names())}")
    scene = scaled(find(args.scene), args.seconds_scale)
    if args.plot:
        _need_matplotlib()
    undone_when_terminated()
    story = play(scene, _setting(scene, args), PlainView(lambda text: print(text, flush=True)))
    counted = figures(story)
    print("\n".join(lines(counted)))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(document(story, counted), indent=1) + "\n")
        print(f"what happened: {args.json}")
    if args.plot:
        from schedulerd.scenes.picture import draw

        draw(story.records, story.turns, story.end_s, args.plot, story.readings)
        print(f"timeline:      {args.plot}")
    if counted.lost or not all(r.ended for r in story.records):
        print(f"schedulerd: {counted.lost} requests were lost", file=sys.stderr)
        return 1
    return 0


def undone_when_terminated() -> None:
    """SIGTERM ends this program as an exception does, so that what it has started ends with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _setting(scene: Scene, args: argparse.Namespace) -> Setting:
    from schedulerd.config import default_state_directory
    from schedulerd.demo.stock import demo_store
    from schedulerd.errors import ConfigError
    from schedulerd.scenes.house import Setting

    runtime = args.runtime.absolute() if args.runtime else None
    if scene.store == "demo":
        state = (args.state or default_state_directory() / "demo").absolute()
        return Setting(demo_store(state), state, "digits", runtime)
    store = Path(scene.store).expanduser().absolute()
    if not store.is_dir():
        raise ConfigError(f'store = {scene.store!r}: there is no such directory; give one with a store, or "demo"')
    state = (args.state or default_state_directory() / "scenes").absolute()
    state.mkdir(parents=True, exist_ok=True)
    return Setting(store, state, "noise", runtime)


def _need_matplotlib() -> None:
    """Before the scene is played, not after it."""
    from schedulerd.errors import ConfigError

    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f"a picture needs {error.name}: pip install 'schedulerd[demo]'") from error


def _scale(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or not SHORTEST <= value <= LONGEST:
        raise argparse.ArgumentTypeError(f"{text} is out of range; give {SHORTEST:g} to {LONGEST:g}")
    return value
