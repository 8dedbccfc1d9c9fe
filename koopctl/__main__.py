"""`python -m koopctl`: the command line."""

from __future__ import annotations

from koopctl.cli import main

if __name__ == "__main__":
    main()
