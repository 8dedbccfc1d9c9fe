"""Control laws: one a file, all keeping the same ladder of fallbacks."""
