"""One app of the demo: a process of its own that streams labelled digits at a fixed rate, like a camera would.

It prints one JSON object a line: `registered` once, `reply` for each frame, `end` with its counts. The demo reads them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from schedulerd.demo.digits import held_out
from schedulerd_client import Client, Registration, Reply, SchedulerdClientError


def main() -> int:
    """Register, stream until standard input closes, say how it went."""
    args = _arguments()
    frames = held_out()
    order = np.random.default_rng(args.seed).permutation(len(frames.labels))
    sent = answered = 0
    with Client(args.runtime, timeout_s=10.0) as client:
        registration = client.register(
            args.model,
            budget_ms=args.budget_ms,
            rate_hz=args.rate_hz,
            priority=args.priority,
            accuracy_floor=args.accuracy_floor,
            app=args.app,
            exits=args.exits or None,
        )
        _say(_registered(registration))
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
            _say(_replied(reply, asked_s, int(frames.labels[index])))
    _say({"kind": "end", "sent": sent, "answered": answered})
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="schedulerd.demo.client", description=__doc__)
    parser.add_argument("--runtime", required=True)
    parser.add_argument("--app", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--budget-ms", type=float, required=True)
    parser.add_argument("--rate-hz", type=float, required=True)
    parser.add_argument("--priority", type=int, default=5)
    parser.add_argument("--accuracy-floor", type=float, default=0.0)
    parser.add_argument("--exits", type=json.loads, default={}, help="exit policy, as JSON")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _told_to_stop() -> bool:
    """The demo asks for the end by a line on standard input, or by dying, which closes it."""
    import select

    return bool(select.select([sys.stdin], [], [], 0)[0])


def _sleep_until(at_s: float) -> None:
    """Frames are due on a fixed grid; one that is late already goes out at once."""
    time.sleep(max(0.0, at_s - time.monotonic()))


def _registered(registration: Registration) -> dict[str, object]:
    return {"kind": "registered", "route": list(registration.route), "accuracy": registration.accuracy}


def _replied(reply: Reply, asked_s: float, label: int) -> dict[str, object]:
    return {
        "kind": "reply",
        "at_s": asked_s,
        "latency_ms": reply.latency_ms,
        "served_ms": reply.queue_ms + reply.run_ms,
        "budget_ms": reply.budget_ms,
        "met": reply.deadline_met,
        "right": int(np.argmax(reply.outputs[0])) == label,
        "accuracy": reply.accuracy,
        "plan": reply.plan,
        "route": list(reply.route),
        "exit": reply.exit,
    }


def _say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
