"""What it takes to make a model's input of an app's camera frames, which plans have to reckon with."""

from __future__ import annotations

from dataclasses import replace

import structlog

from schedulerd.clock import Clock
from schedulerd.serving.apps import LiveApp

log = structlog.get_logger(__name__)


def learn_preparation(app: LiveApp, clock: Clock) -> None:
    """Measure it once, where an app has camera frames, and keep it with what the app asked for."""
    if app.preparation is None:
        return
    try:
        app.spec = replace(app.spec, prepare_ms=app.preparation.cost_ms(clock))
    except Exception:
        # Such as a frame for which there is no memory: its requests will say so, and the others have their turn.
        log.exception("preparation_not_measured", app=app.spec.app_id, camera=str(app.camera))
