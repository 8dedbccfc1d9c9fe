"""Lifts: maps from standardised coordinates to features, each with its own Jacobian."""
