"""Drawings of plain numbers, one a file, for the `plot` methods of models and results."""
