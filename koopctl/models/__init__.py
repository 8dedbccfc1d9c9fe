"""Models of motion: one contract, several couplings of state and input."""
