"""A million transitions and a thousand features: time against the bare matrix product, and memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import numpy as np
import scipy.linalg

from koopctl.data.rollouts import Rollouts
from koopctl.models.sampled_rnn import SampledRNN

_EPISODE = 1000  # transitions


def run(n: int, p: int) -> dict[str, float]:
    """Measure in two processes of their own: the peak of memory is a process's whole life's.

    Returns:
        `bare_s` (one SYRK of (n, p) and a Cholesky factorisation), `fit_s`, `ratio`, and `extra_gib`, the fit's peak
        of memory above what held the data.
    """
    found: dict[str, float] = {}
    for part in ("bare", "ours"):
        command = [sys.executable, "-m", "koopctl.bench.throughput", part, str(n), str(p)]
        found |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found | {"ratio": found["fit_s"] / found["bare_s"]}


def _bare(n: int, p: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    Phi = np.empty((n, p))
    for start in range(0, n, 2**14):
        Phi[start : start + 2**14] = rng.standard_normal((min(2**14, n - start), p))
    begin = time.perf_counter()
    G = scipy.linalg.blas.dsyrk(1.0, Phi.T, lower=1)
    G[np.diag_indices(p)] += 1.0
    scipy.linalg.cholesky(G, lower=True, overwrite_a=True)
    return {"bare_s": time.perf_counter() - begin}


def _ours(n: int, p: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    X = [np.cumsum(rng.standard_normal((_EPISODE + 1, 4)), axis=0) for _ in range(n // _EPISODE)]
    U = [rng.standard_normal((_EPISODE, 1)) for _ in range(n // _EPISODE)]
    data = Rollouts(X, U, 0.1)
    del X, U
    SampledRNN(20).fit(data[:2])  # libraries are loaded, not timed
    before = _peak()
    begin = time.perf_counter()
    SampledRNN(p).fit(data)
    return {"fit_s": time.perf_counter() - begin, "extra_gib": (_peak() - before) / 2**30}


def _peak() -> float:
    """Return the largest resident memory of this process so far [bytes]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


if __name__ == "__main__":
    print(json.dumps({"bare": _bare, "ours": _ours}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))))
