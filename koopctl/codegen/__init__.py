"""C sources of a designed law, and the proof that they agree with it."""
