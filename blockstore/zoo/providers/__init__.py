"""Data providers, one file per data set; `blockstore.zoo.datasets` names them all."""
