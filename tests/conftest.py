"""Settings that must stand before numpy, matplotlib or MuJoCo is imported."""

from __future__ import annotations

import os

# One thread a process: the suite compares bytes and timings, and its matrices are too small to share.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["MUJOCO_GL"] = "egl"
