"""Least squares over streams of samples: accumulate block by block, merge, forget, solve at the end."""
