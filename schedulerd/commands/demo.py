"""`schedulerd demo`: the main job as a scene, on the store that ships with the package."""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schedulerd.scenes.record import Story

LEAST_SECONDS = 5.0
PLAIN_WIDTH = 140
"""Columns where the output is a file or a pipe, whose width nobody can ask."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `demo` and its options."""
    parser = subparsers.add_parser("demo", help="three apps share this board while an operator moves their budgets")
    parser.add_argument("--seconds", type=_seconds, default=40.0, metavar="N", help="length of the scene (default 40)")
    parser.add_argument("--headless", action="store_true", help="plain lines instead of a live table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what happened")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the timeline as a PNG")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where store and profile of the demo are kept")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play the scene; 0 when every process ended well and no request was lost."""
    from schedulerd.errors import ConfigError

    try:
        from rich.console import Console

        from schedulerd.demo.view import LiveView
    except ModuleNotFoundError as error:
        raise ConfigError(f"the demo needs {error.name}: pip install 'schedulerd[demo]'") from error
    from schedulerd.commands.scene import undone_when_terminated
    from schedulerd.config import default_state_directory
    from schedulerd.demo.stock import demo_store
    from schedulerd.scenes.house import Setting
    from schedulerd.scenes.library import find
    from schedulerd.scenes.picture import draw
    from schedulerd.scenes.player import play
    from schedulerd.scenes.record import summary
    from schedulerd.scenes.script import scaled
    from schedulerd.scenes.view import PlainView

    state = (args.state or default_state_directory() / "demo").absolute()
    on_terminal = sys.stdout.isatty()
    console = Console(width=None if on_terminal else PLAIN_WIDTH)
    scene = find("demo")
    setting = Setting(demo_store(state), state, "digits")
    plain = args.headless or not on_terminal
    view = PlainView(partial(console.print, markup=False, highlight=False)) if plain else LiveView(console)
    undone_when_terminated()
    try:
        story = play(scaled(scene, args.seconds / scene.seconds), setting, view)
    finally:
        view.close()
    happened = {**_about(story), **summary(story.records, story.turns, story.end_s)}
    _print_summary(console, happened)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(happened, indent=1) + "\n")
        console.print(f"what happened: {args.json}", highlight=False)
    if args.plot:
        draw(story.records, story.turns, story.end_s, args.plot)
        console.print(f"timeline:      {args.plot}", highlight=False)
    if happened["lost"] or not all(r.ended for r in story.records):
        print(f"schedulerd: {happened['lost']} requests were lost", file=sys.stderr)
        return 1
    return 0


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < LEAST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} s is too short for five phases; give at least {LEAST_SECONDS:g}")
    return value


def _about(story: Story) -> dict[str, Any]:
    import onnxruntime

    return {
        "machine": {"processor": platform.processor() or platform.machine(), "system": platform.platform()},
        "versions": {"python": platform.python_version(), "onnxruntime": onnxruntime.__version__},
        "daemon": dict(story.status),
        "ready_s": story.ready_s,
    }


def _print_summary(console: Any, happened: dict[str, Any]) -> None:
    from rich.table import Table

    from schedulerd.cells import route_in_short
    from schedulerd.demo.view import exits_in_short

    table = Table(title="what happened", title_justify="left")
    for name in (
        "phase",
        "app",
        "budget",
        "p50",
        "p95",
        "late",
        "accuracy",
        "predicted",
        "leave at",
        "route at its end",
    ):
        table.add_column(
            name, justify="left" if name in ("phase", "app", "route at its end") else "right", no_wrap=True
        )
    for phase in happened["phases"]:
        for number, (app, seen) in enumerate(phase["apps"].items()):
            if seen["requests"] == 0:
                continue
            table.add_row(
                "" if number else phase["name"],
                app,
                f"{seen['budget_ms']:g} ms",
                f"{seen['served_p50_ms']:.1f}",
                f"{seen['served_p95_ms']:.1f}",
                f"{seen['misses']}/{seen['requests']}",
                f"{seen['accuracy']:.1%}",
                f"{seen['accuracy_predicted']:.1%}",
                exits_in_short(seen["exit_rates"]),
                route_in_short(seen["route"]),
            )
        table.add_section()
    console.print(table)
    for phase in happened["phases"]:
        for answer in phase["did"]:
            console.print(f"{phase['name']}: {answer}", markup=False, highlight=False)
    console.print(
        f"{happened['requests']} requests, {happened['lost']} lost, {happened['swaps']} swaps of routes",
        highlight=False,
    )
