"""What an operator does with apps of a real daemon: pins, priorities, and drains with requests in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schedulerd import ctl
from schedulerd.demo.digits import held_out
from schedulerd_client import AsyncClient, Client, Drained
from tests.integration.daemons import CONFIG, Daemon, until

MODEL = "digits-residual"
IN_FLIGHT = 8


def schedctl(daemon: Daemon, *arguments: str) -> int:
    return ctl.main([*arguments, "--runtime", str(daemon.runtime), "--timeout", "30"])


def test_what_is_pinned_runs_whatever_is_best_and_is_free_again(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    image = held_out().images[0]
    with Client(daemon.runtime) as client, daemon.control() as control:
        client.register(MODEL, app="cam", budget_ms=1000, rate_hz=10)
        before = client.infer(image).route
        assert schedctl(daemon, "pin", "cam") == 0
        control.objective("min-latency")
        assert client.infer(image).route == before
        assert schedctl(daemon, "apps") == 0
        assert "cam is pinned to" in capsys.readouterr().out
        assert schedctl(daemon, "unpin", "cam") == 0
        quick = client.infer(image).route
        assert quick != before
        (blocks,) = (app["blocks"] for app in control.plan()["apps"])
        moved = next(place for place, pair in enumerate(zip(before, quick, strict=True)) if pair[0] != pair[1])
        wanted = f"{blocks[moved]['block']}={before[moved]}"
        assert schedctl(daemon, "pin", "cam", wanted) == 0
        assert client.infer(image).route == (*quick[:moved], before[moved], *quick[moved + 1 :])
        capsys.readouterr()
        assert schedctl(daemon, "pin", "cam", f"{wanted}x") == 1
        assert f'did you mean "{before[moved]}"?' in capsys.readouterr().err


def test_pins_and_priorities_survive_a_kill(store: Path, own_state: Path, tmp_path: Path) -> None:
    runtime = tmp_path / "kept"
    runtime.mkdir()
    daemon = Daemon(store, own_state, runtime, config=CONFIG)
    (daemon.drop_ins / "00-forget.toml").unlink()
    try:
        daemon.start()
        with Client(runtime) as client, daemon.control() as control:
            client.register(MODEL, app="cam", budget_ms=1000, rate_hz=10)
            assert control.set_priority("cam", 9)["kept"]
            pinned = control.pin("cam")
            assert pinned["kept"]
        daemon.kill()
        daemon.start()
        with Client(runtime) as client, daemon.control() as control:
            client.register(MODEL, app="cam", budget_ms=1000, rate_hz=10)
            (app,) = control.apps()["apps"]
            assert (app["priority"], app["registered_priority"]) == (9, 5)
            assert (app["pins"], app["unmet_pins"]) == (pinned["pins"], [])
            control.drop_overrides("cam")
            assert control.apps()["apps"][0]["pins"] == {}
    finally:
        assert daemon.stop() == 0, daemon.logged()


class Asking:
    """An app with several requests in flight at any moment, and what came of them."""

    def __init__(self) -> None:
        self.answered = 0
        self.refused = 0
        self.ended = False

    async def ask(self, client: AsyncClient, image: Any) -> None:
        while not self.ended:
            try:
                await client.infer(image)
            except Drained:
                self.refused += 1
                await asyncio.sleep(0.005)  # as a camera does, which has no new frame before
            else:
                self.answered += 1


async def drained_while_asking(daemon: Daemon) -> None:
    asking, image = Asking(), held_out().images[0]

    def soon(what: str, look: Callable[[], bool]) -> Any:
        return asyncio.to_thread(until, what, lambda: look() or None)

    async with AsyncClient(daemon.runtime) as client:
        await client.register(MODEL, app="cam", budget_ms=1000, rate_hz=100)
        with daemon.control() as control, control.events(("drain",), timeout_s=30) as events:
            tasks = [asyncio.create_task(asking.ask(client, image)) for _ in range(IN_FLIGHT)]
            await soon("answers", lambda: asking.answered >= IN_FLIGHT)
            answer = await asyncio.to_thread(control.drain, "cam")
            assert (answer["drained"], answer["in_flight"]) == (["cam"], {})
            await soon("refusals", lambda: asking.refused >= IN_FLIGHT)
            # Whatever was accepted has been answered, to the last request: the app has counted as many as we have.
            accepted = (await asyncio.to_thread(control.apps))["apps"][0]["requests"]
            await soon("the last answers", lambda: asking.answered == accepted)
            status = await asyncio.to_thread(control.status)
            assert (status["drained"], status["drained_all"]) == (["cam"], False)
            assert (await asyncio.to_thread(control.plan))["apps"] == []
            resumed = await asyncio.to_thread(control.resume, "cam")
            assert resumed["resumed"] == ["cam"]
            await soon("answers again", lambda: asking.answered >= accepted + IN_FLIGHT)
            asking.ended = True
            await asyncio.gather(*tasks)
            assert [next(events).body["change"] for _ in range(3)] == ["draining", "drained", "resumed"]


def test_a_drained_app_gets_all_its_answers_and_goes_on_when_it_is_resumed(daemon: Daemon) -> None:
    asyncio.run(drained_while_asking(daemon))


def test_a_drained_daemon_refuses_who_comes_until_it_is_resumed(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    assert schedctl(daemon, "drain") == 0
    assert schedctl(daemon, "status") == 0
    assert "whoever registers (schedctl resume)" in capsys.readouterr().out
    with Client(daemon.runtime) as client:
        with pytest.raises(Drained, match="schedctl resume"):
            client.register(MODEL, app="cam", budget_ms=1000, rate_hz=10)
        assert schedctl(daemon, "resume") == 0
        client.register(MODEL, app="cam", budget_ms=1000, rate_hz=10)
        assert schedctl(daemon, "drain", "cam") == 0
        with pytest.raises(Drained):
            client.infer(held_out().images[0])
        assert schedctl(daemon, "resume", "cam") == 0
        assert client.infer(held_out().images[0]).route
