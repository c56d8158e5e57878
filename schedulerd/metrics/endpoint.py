"""What the daemon builds where `[metrics] listen` names a place; nothing else of ours imports prometheus-client.

The socket is opened before anything is measured or loaded, so that a port which is taken is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from schedulerd.clock import Clock
from schedulerd.metrics.collector import Exposition
from schedulerd.metrics.server import Listener, MetricsServer
from schedulerd.metrics.viewer import Viewer
from schedulerd.serving.events import Viewed

log = structlog.get_logger(__name__)

CLOSE_S = 2.0


class MetricsEndpoint:
    """Listening; serving once it is told what there is to tell."""

    def __init__(self, address: str, clock: Clock) -> None:
        """Args: address: `host:port`; clock. Raises `ConfigError` where it cannot listen there."""
        self._clock = clock
        listener = Listener(address, clock)
        self._address = listener.address
        self._server = MetricsServer(listener)

    def serve(
        self,
        post: Callable[[Viewed], None],
        refused: Mapping[str, int],
        alive_at_s: Callable[[], Mapping[str, float]],
    ) -> None:
        """Answer scrapes. Args: as of `viewer.Viewer`."""
        viewer = Viewer(post, refused, alive_at_s, self._clock)
        self._server.serve(Exposition(viewer.view).text)
        log.info("metrics", address=self._address)

    def close(self) -> None:
        """Stop listening; safe to call before `serve`, and twice."""
        self._server.close(CLOSE_S)
