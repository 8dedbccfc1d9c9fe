"""Recorded motion and the signals that make it."""
