"""The command line as tests call it: inside this process, or as a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from koopctl.cli import app

RUNNER = CliRunner()


def invoke(*arguments: object):
    """Run koopctl inside this process."""
    return RUNNER.invoke(app, [str(argument) for argument in arguments])


def done(*arguments: object) -> dict:
    """Run koopctl with --json, which must succeed, and return its one object."""
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def failure(*arguments: object, status: int = 1) -> str:
    """Run koopctl, which must fail with `status` and an empty stdout, and return its last line."""
    result = invoke(*arguments)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    if status == 1:
        assert result.stderr.startswith("koopctl: ") and result.stderr.count("\n") == 1
    return result.stderr


def shell(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run koopctl as a program of its own."""
    command = [sys.executable, "-m", "koopctl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
