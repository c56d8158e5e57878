"""Servers and clients of other makers, and our client beside them.

Each program runs in a virtual environment of its own, which has nothing of ours but this folder.
"""
