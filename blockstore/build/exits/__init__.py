"""Exits: heads on the outputs of blocks, taught, pruned, calibrated and joined to policies; open `attach` first."""
