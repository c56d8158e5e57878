"""What an operator sets holds over a kill, until it is dropped."""

from __future__ import annotations

from pathlib import Path

from schedulerd_client import Client
from tests.integration.daemons import CONFIG, Daemon

MODEL = "digits-residual"


def test_a_budget_survives_a_kill_and_is_dropped(store: Path, own_state: Path, tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    daemon = Daemon(store, own_state, runtime, config=CONFIG)
    (daemon.drop_ins / "00-forget.toml").unlink()
    try:
        daemon.start()
        with Client(runtime) as client, daemon.control() as control:
            client.register(MODEL, app="cam", budget_ms=1000, rate_hz=10)
            assert control.set_budget("cam", 500)["kept"]
            control.objective("min-latency")
        daemon.kill()
        daemon.start()
        with Client(runtime) as client, daemon.control() as control:
            assert control.objective()["objective"] == "min-latency"
            client.register(MODEL, app="cam", budget_ms=1000, rate_hz=10)
            (app,) = control.apps()["apps"]
            assert (app["budget_ms"], app["registered_budget_ms"]) == (500, 1000)
            (own_state / "overrides.json").unlink()
            (own_state / "overrides.json").mkdir()
            dropped = control.drop_overrides()
            assert not dropped["kept"], "there is a folder in the way"
            assert "overrides.json" in dropped["kept_reason"]
            (own_state / "overrides.json").rmdir()
            assert control.drop_overrides()["kept"]
            assert control.apps()["apps"][0]["budget_ms"] == 1000
    finally:
        assert daemon.stop() == 0, daemon.logged()
