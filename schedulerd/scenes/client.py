"""One app of a scene: a process of its own that streams frames at a fixed rate, like a camera would.

It prints one JSON object a line: `ready` when it may be told to join, `registered` once, `reply` or `error` for each
frame, `end` with its counts. A line on standard input has it join; the next one, or its end, has it leave.
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schedulerd_client import Client, NameTaken, Registration, Reply, SchedulerdClientError

NOISE_FRAMES = 16
TIMEOUT_S = 10.0
NAME_TAKEN_S = 0.05


class Frames(NamedTuple):
    """What is streamed, over and over: images as the model takes them, and their labels where they have any."""

    images: npt.NDArray[np.generic]
    labels: npt.NDArray[np.int64] | None


def main() -> int:
    """Register, stream until told to stop, say how it went."""
    args = _arguments()
    digits = _digits() if args.frames == "digits" else None
    _say({"kind": "ready"})
    if not sys.stdin.readline():
        return 0
    sent = answered = 0
    with Client(args.runtime, timeout_s=TIMEOUT_S) as client:
        registration = _join(client, args)
        _say(_registered(registration))
        frames = digits or _noise(registration, args.seed)
        order = np.random.default_rng(args.seed).permutation(len(frames.images))
        began_s = time.monotonic()
        while not _told_to_stop():
            _sleep_until(began_s + sent / args.rate_hz)
            index = int(order[sent % len(order)])
            sent += 1
            asked_s = time.monotonic()
            try:
                reply = client.infer(frames.images[index])
            except SchedulerdClientError as error:
                _say({"kind": "error", "at_s": asked_s, "message": str(error)})
                continue
            answered += 1
            label = None if frames.labels is None else int(frames.labels[index])
            _say(_replied(reply, asked_s, label))
    _say({"kind": "end", "sent": sent, "answered": answered})
    return 0


def _join(client: Client, args: argparse.Namespace) -> Registration:
    """Register; an app of this name that has just been told to leave may still be there for a moment."""
    until_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return client.register(
                args.model,
                budget_ms=args.budget_ms,
                rate_hz=args.rate_hz,
                priority=args.priority,
                accuracy_floor=args.accuracy_floor,
                late=args.late,
                app=args.app,
                exits=args.exits or None,
            )
        except NameTaken:
            if time.monotonic() > until_s:
                raise
            time.sleep(NAME_TAKEN_S)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="schedulerd.scenes.client", description=__doc__)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--app", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--budget-ms", type=float, required=True)
    parser.add_argument("--rate-hz", type=float, required=True)
    parser.add_argument("--priority", type=int, default=5)
    parser.add_argument("--accuracy-floor", type=float, default=0.0)
    parser.add_argument("--late", default="run")
    parser.add_argument("--exits", type=json.loads, default={}, help="exit policy, as JSON")
    parser.add_argument("--frames", choices=("digits", "noise"), default="noise")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _digits() -> Frames:
    from schedulerd.demo.digits import held_out

    scenes = held_out()
    return Frames(scenes.images, scenes.labels)


def _noise(registration: Registration, seed: int) -> Frames:
    """Of the dtype and shape that the model takes."""
    rng = np.random.default_rng(seed)
    header = registration.input
    shape = (NOISE_FRAMES, *header.shape)
    floating = np.issubdtype(np.dtype(header.dtype), np.floating)
    images = rng.standard_normal(shape) if floating else rng.integers(0, 128, shape)
    return Frames(images.astype(header.dtype), None)


def _told_to_stop() -> bool:
    """The player asks for the end by a line on standard input, or by dying, which closes it."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def _sleep_until(at_s: float) -> None:
    """Frames are due on a fixed grid; one that is late already goes out at once."""
    time.sleep(max(0.0, at_s - time.monotonic()))


def _registered(registration: Registration) -> dict[str, object]:
    return {"kind": "registered", "route": list(registration.route), "accuracy": registration.accuracy}


def _replied(reply: Reply, asked_s: float, label: int | None) -> dict[str, object]:
    return {
        "kind": "reply",
        "at_s": asked_s,
        "latency_ms": reply.latency_ms,
        "served_ms": reply.queue_ms + reply.run_ms,
        "budget_ms": reply.budget_ms,
        "met": reply.deadline_met,
        "right": None if label is None else int(np.argmax(reply.outputs[0])) == label,
        "accuracy": reply.accuracy,
        "plan": reply.plan,
        "route": list(reply.route),
        "exit": reply.exit,
    }


def _say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
