"""Measured costs of block variants on one device and engine."""
