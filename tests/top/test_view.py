"""What is on the screen, wide and narrow, and with answers that lack things."""

from __future__ import annotations

import io

from rich.console import Console

from schedulerd.top.controls import Controls
from schedulerd.top.looks import History, Look
from schedulerd.top.view import KEYS, absent, screen

STATUS = {
    "version": "0.9", "uptime_s": 65.0, "requests": 123, "misses": 4, "refused": 0, "swaps": 2,
    "utilisation_limit": 0.8, "resident_bytes": 4_400_000, "memory_limit_bytes": 20_000_000, "cpu_busy": 0.5,
    "cpu_others": 0.1, "slowdown": 1.25, "rss_bytes": 120_000_000, "memory_available_bytes": 900_000_000,
    "zones": {"cpu-thermal": 61.0}, "throttled": ["heat"], "unread": {"battery": "none"},
}  # fmt: skip
CAM = {
    "app": "cam", "model": "digits-plain", "budget_ms": 20.0, "measured_p50_ms": 11.0, "measured_p95_ms": 25.0,
    "accuracy": 0.973, "exit_rates": {"exit1": 0.4, "final": 0.6}, "misses": 4, "refused": {"overloaded": 3},
    "swaps": 2, "route": ["original", "prune:0.5"],
}  # fmt: skip
PLAN = {"number": 7, "utilisation": 0.42, "objective": "max-accuracy", "sentence": "cam joins", "binding": ["memory"]}
LOOK = Look(STATUS, (CAM,), PLAN)


def drawn(look: Look, controls: Controls = Controls(chosen="cam"), width: int = 160) -> str:  # noqa: B008
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=False, color_system=None)
    console.print(screen(look, History().after(look), controls, width))
    return out.getvalue()


def test_the_screen_says_how_the_daemon_its_board_and_its_apps_are() -> None:
    text = drawn(LOOK)
    for said in (
        "1 app, 123 requests, 4 late", "best is max-accuracy", "lanes 42% of 80%", "blocks 4.4 MB of 20.0 MB",
        "61.0 C at the hottest", "clocks held down for heat", "binding: memory", "11.0 / 25.0", "█", "97.3%", "40%",
        "full 50", "plan 7: cam joins", KEYS,
    ):  # fmt: skip
        assert said in text, said
    (row,) = [line for line in text.splitlines() if "digits-plain" in line]
    assert row.startswith(">")
    assert row.split().count("3") == 1, "refusals of all codes"


def test_a_narrow_terminal_does_without_models_and_routes() -> None:
    text = drawn(LOOK, width=80)
    assert "cam" in text
    assert "digits-plain" not in text
    assert "full 50" not in text


def test_answers_that_lack_everything_are_drawn_all_the_same() -> None:
    assert "no apps" in drawn(Look({}, (), {}))
    assert "cam" in drawn(Look({}, ({"app": "cam"},), {}))


def test_what_is_typed_and_what_came_of_it_are_shown_and_steer_no_terminal() -> None:
    assert "budget of cam in ms, then Enter (Escape leaves it): 12_" in drawn(LOOK, Controls(chosen="cam", typed="12"))
    text = drawn(LOOK, Controls(chosen="cam", said="cam: budget 12 ms\x1b[2J"))
    assert "cam: budget 12 ms?[2J" in text
    named = Look(STATUS, ({**CAM, "app": "a\x1b]0;x\x07"},), PLAN)
    assert "\x1b" not in drawn(named)


def test_a_daemon_that_does_not_answer_is_named() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(absent("no daemon at /run/x"))
    assert "no daemon at /run/x" in out.getvalue()
