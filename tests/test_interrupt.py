"""Ctrl-C while recording: what is finished is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from test_collect import Leaky

from koopctl.collecting import collect

INTERRUPTED = """
import sys
sys.path.insert(0, sys.argv[2])
from test_collect import Leaky
from koopctl.collecting import collect
from koopctl.data.excitation import PRBS

class Logged(Leaky):
    def reset(self, **options):
        with open(log, "ab") as file:
            file.write(b".")
        return super().reset(**options)

log = sys.argv[3]
data = collect(lambda: Logged(patience=0.002), episodes=1600, steps=5, excitation=PRBS(0.1), jobs=int(sys.argv[1]))
print(len(data), {len(U) for U in data.U}, data.notes)
"""


@pytest.mark.parametrize(("jobs", "whole_group"), [(1, False), (2, False), (2, True)])
def test_an_interrupt_keeps_the_finished_episodes(jobs, whole_group, tmp_path):
    """A real SIGINT to the process, and as from a terminal to all of them: whole episodes, a warning and a note."""
    log = tmp_path / "log"
    arguments = [sys.executable, "-c", INTERRUPTED, str(jobs), os.path.dirname(__file__), str(log)]
    run = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not log.exists() or log.stat().st_size < 250:  # five blocks begun: the first two are done
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    os.killpg(run.pid, signal.SIGINT) if whole_group else run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    count = int(out.split()[0])
    assert 0 < count < 1600
    assert "{5}" in out and f"interrupted: {count} of 1600 episodes kept" in out
    assert "UserWarning: collect was interrupted" in err


def test_an_interrupt_before_the_first_episode_is_passed_on():
    """Nothing to return, so the interrupt goes on."""

    class Impatient(Leaky):
        def step(self, action):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(Impatient, episodes=3, steps=5)
