"""Fitting models and judging them."""
