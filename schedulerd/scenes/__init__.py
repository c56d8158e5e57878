"""Scenes: scripted loads that are played against a real daemon, and what comes of them."""
