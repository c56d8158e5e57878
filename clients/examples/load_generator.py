"""Frames at a fixed rate, whether or not the answers keep up, and how long the answers took.

    python clients/examples/load_generator.py MODEL --rate-hz 30 --budget-ms 25 --seconds 10

The rate is that of a camera: a frame that is due goes out although earlier ones still wait (an open loop), so a daemon
that is too slow shows in the figures instead of slowing the generator down.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections import Counter

import numpy as np

from schedulerd_client import AsyncClient, Refusal, Registration, Reply, SchedulerdClientError, TransportError

Outcome = Reply | Refusal | TransportError


async def generate(client: AsyncClient, frame: np.ndarray, rate_hz: float, seconds: float) -> list[Outcome]:
    """Send `frame` at `rate_hz` for `seconds`, then wait for the answers that are still out."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    calls = []
    for number in range(round(rate_hz * seconds)):
        await asyncio.sleep(began_s + number / rate_hz - loop.time())
        calls.append(asyncio.create_task(ask(client, frame)))
    return await asyncio.gather(*calls)


async def ask(client: AsyncClient, frame: np.ndarray) -> Outcome:
    """One frame; an error is an outcome like another."""
    try:
        return await client.infer(frame)
    except (Refusal, TransportError) as error:
        return error


def report(registration: Registration, outcomes: list[Outcome]) -> str:
    """A few lines for a person."""
    replies = [outcome for outcome in outcomes if isinstance(outcome, Reply)]
    failures = Counter(type(outcome).__name__ for outcome in outcomes if not isinstance(outcome, Reply))
    lines = [
        f"{registration.app}: {len(outcomes)} frames, {len(replies)} answered, "
        f"{sum(not reply.deadline_met for reply in replies)} late"
    ]
    lines += [f"  {count} x {name}" for name, count in failures.most_common()]
    if len(replies) > 1:
        percentiles = statistics.quantiles((reply.latency_ms for reply in replies), n=100, method="inclusive")
        lines.append("  latency " + ", ".join(f"p{p} {percentiles[p - 1]:.2f} ms" for p in (50, 95, 99)))
    lines += [f"  {count} on {route}" for route, count in Counter("|".join(r.route) for r in replies).most_common()]
    early = Counter(f"{r.exit} ({r.left})" for r in replies if r.left != "end")
    lines += [f"  {count} left at {where}" for where, count in early.most_common()]
    return "\n".join(lines)


async def run(args: argparse.Namespace) -> str:
    """Register, generate, report."""
    async with AsyncClient(args.runtime, timeout_s=args.timeout_s) as client:
        registration = await client.register(
            args.model, args.budget_ms, args.rate_hz, priority=args.priority, late=args.late, app=args.app
        )
        noise = np.random.default_rng(0).integers(0, 256, registration.input.shape)
        frame = noise.astype(registration.input.dtype)
        return report(registration, await generate(client, frame, args.rate_hz, args.seconds))


def main() -> int:
    """Exit code 1 when the daemon refuses the app or is not there."""
    parser = argparse.ArgumentParser(description="Send frames to schedulerd at a fixed rate.")
    parser.add_argument("model")
    parser.add_argument("--rate-hz", type=float, default=30.0)
    parser.add_argument("--budget-ms", type=float, default=25.0)
    parser.add_argument("--priority", type=int, default=5)
    parser.add_argument("--late", default="run", help="what becomes of late frames: run (default), drop or exit")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--app", help="name that operators see")
    parser.add_argument("--timeout-s", type=float, default=5.0)
    parser.add_argument("--runtime", help="the daemon's runtime directory")
    try:
        print(asyncio.run(run(parser.parse_args())))
    except SchedulerdClientError as error:
        print(f"load_generator: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
