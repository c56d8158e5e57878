"""schedulerd: several vision networks on one small board, each inside its latency budget."""

__version__ = "0.1.0"
