"""One small file for each thing that can be read from a board."""
