"""Measuring the store on this board, in a process of its own."""
