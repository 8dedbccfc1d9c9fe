"""Settings that must stand before numpy, matplotlib or MuJoCo is imported."""

from __future__ import annotations

import importlib.util
import mmap
import os
from pathlib import Path

# One thread a process: the suite compares bytes and timings, and its matrices are too small to share.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["MUJOCO_GL"] = "egl"


def _compile_plainly() -> None:
    """Let XLA compile fast code slowly no more: networks here are tiny, compiling them is nearly all they take.

    An XLA that does not know a flag ends the process, so that its library is asked for their names first.
    """
    flags, spec = ("xla_backend_optimization_level=0", "xla_cpu_use_fusion_emitters=false"), None
    if "XLA_FLAGS" not in os.environ:  # set by a caller, or by the process that this one works for
        spec = importlib.util.find_spec("jaxlib")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        library = max((path for path in Path(folder).iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            known = [flag for flag in flags if held.find(flag.partition("=")[0].encode()) >= 0]
        os.environ["XLA_FLAGS"] = " ".join(f"--{flag}" for flag in known)


_compile_plainly()

from collections.abc import Callable  # noqa: E402  numpy must come after the settings above

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import koopctl as kc  # noqa: E402

# Unstable, coupled, with one input; and a stable plant with two inputs.
UNSTABLE = np.array([[1.02, 0.1], [0.08, 0.98]]), np.array([[0.005], [0.1]])
TWO_INPUTS = (
    np.array([[1.0, 0.1, 0.0], [-0.05, 0.97, 0.1], [0.0, 0.02, 0.9]]),
    np.array([[0.0, 0.01], [0.1, 0.0], [0.0, 0.2]]),
)


def record_linear(A: np.ndarray, B: np.ndarray, *, episodes: int = 30, steps: int = 20, seed: int = 0) -> kc.Rollouts:
    """Record x+ = A x + B u exactly, from random states under random inputs."""
    rng = np.random.default_rng(seed)
    X, U = rng.uniform(-1, 1, (episodes, steps + 1, len(A))), rng.uniform(-1, 1, (episodes, steps, B.shape[1]))
    for k in range(steps):
        X[:, k + 1] = X[:, k] @ A.T + U[:, k] @ B.T
    return kc.Rollouts(list(X), list(U), 0.1)


@pytest.fixture(scope="session")
def linear_rollouts() -> Callable[..., kc.Rollouts]:
    """The recorder of exact linear motion, `linear_rollouts(A, B, episodes=30, steps=20, seed=0)`."""
    return record_linear


@pytest.fixture(scope="session")
def linear_model() -> kc.EDMDc:
    """The unstable linear plant, learnt exactly."""
    return kc.EDMDc(kc.Identity(), ridge=1e-14).fit(record_linear(*UNSTABLE))


@pytest.fixture(scope="session")
def linear_network() -> kc.SampledRNN:
    """The unstable linear plant, learnt by a network."""
    return kc.SampledRNN(20, ridge=1e-13).fit(record_linear(*UNSTABLE))


@pytest.fixture(scope="session")
def two_input_model() -> kc.EDMDc:
    """The stable linear plant with two inputs, learnt exactly."""
    return kc.EDMDc(kc.Identity(), ridge=1e-14).fit(record_linear(*TWO_INPUTS))


@pytest.fixture(scope="session")
def pendulum_rollouts() -> kc.Rollouts:
    """Pendulum-v1 under random inputs, 18 000 transitions; the observation holds cos and sin."""
    return kc.collect("Pendulum-v1", episodes=300, steps=60, seed=0)
