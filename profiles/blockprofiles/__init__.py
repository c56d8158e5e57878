"""Measured costs of block variants on one device and engine, and how they compose into routes."""
