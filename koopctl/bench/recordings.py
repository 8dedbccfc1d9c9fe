"""Free runs on recordings that others have published figures for: Silverbox and DaISy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from koopctl.arrays import Array
from koopctl.data.rollouts import Rollouts
from koopctl.identify.fitting import fit
from koopctl.identify.search import Search
from koopctl.models.base import Model
from koopctl.models.sampled_rnn import SampledRNN

_RIDGES = (1e-8, 1e-10, 1e-12)
_SEEN = 50  # outputs of a Silverbox test record that the model may see
_SILVERBOX_DT = 1.0 / 610.35  # [s]


def silverbox(folder: Path, quick: bool) -> dict[str, Any]:
    """Return free-run errors [mV] on the official split, fit and search times [s].

    U[k] is the voltage sampled together with the next output: the circuit answers within the sample.
    """
    table = np.genfromtxt(folder / "silverbox.csv", delimiter=",", skip_header=1, usecols=(0, 1))
    u, y = table[:, :1], table[:, 1:]
    first, stop = 40_650, 127_400
    cut = first + round(0.75 * (stop - first))
    parts = {"multisine": (cut, stop), "arrow": (100, 40_575), "arrow, no extrapolation": (100, 32_100)}
    data = Rollouts([y[first:cut]], [u[first + 1 : cut]], _SILVERBOX_DT, ["output"], ["input"])
    grid: dict[str, Sequence[Any]] = {
        "n_features": [300] if quick else [300, 600],
        "delays": [2, 3, 4],
        "ridge": _RIDGES,
    }
    begin = time.perf_counter()
    trials = Search(grid, horizon=200, progress=False).run(data, [SampledRNN()])
    searched = time.perf_counter() - begin
    model, seconds = _timed(data, trials.best.model())
    errors = {name: 1e3 * _free_run(model, y[a:b], u[a + 1 : b], _SEEN - 1)[0] for name, (a, b) in parts.items()}
    return {"params": trials.best.params, "fit_s": seconds, "search_s": searched, "errors": errors}


def daisy(folder: Path, quick: bool) -> list[dict[str, Any]]:
    """Return the free-run error of a stirred tank and a heat exchanger; the last quarter of the first part chooses."""
    width, lags = ([30, 100], [1, 4, 8]) if quick else ([30, 100, 300], [1, 2, 4, 8, 15])
    grid: dict[str, Sequence[Any]] = {"n_features": width, "delays": lags, "ridge": [10.0**-k for k in range(3, 12)]}
    rows = []
    for name, columns, train, dt in (("cstr", [2, 3], 3750, 6.0), ("exchanger", [2], 3000, 1.0)):
        content = scipy.io.loadmat(folder / "daisy" / f"{name}.mat")
        table = np.asarray(content[name], dtype=np.float64)
        tried = []
        for lead in (0, 1):  # whether the input of the same sample acts already
            Y, U = table[: len(table) - lead, columns], table[lead:, 1:2]
            data = Rollouts([Y[:train]], [U[: train - 1]], dt)
            model = fit(data, SampledRNN(), search=Search(grid, horizon=200, progress=False))
            tried.append((model.search_.best.score, lead, model, _free_run(model, Y, U[:-1], train - 1)))
        score, lead, model, errors = min(tried, key=lambda row: row[0])
        params = model.search_.best.params | {"lead": lead}
        rows.append({"name": name, "params": params, "score": score, "rmse": errors})
    return rows


def _free_run(model: Model, Y: Array, U: Array, start: int) -> list[float]:
    """Return the rms error of each output after row `start`, the rows up to it seen, the rest rolled out at once."""
    d = model.window_.delays
    x0 = model.encode(Y[start - d : start + 1], U[start - d : start])
    predicted = model.output(model.predict(x0, U[start : len(Y) - 1]))[1:]
    return [float(rms) for rms in np.sqrt(np.mean((predicted - Y[start + 1 :]) ** 2, axis=0))]


def _timed(data: Rollouts, template: Model, repeats: Sequence[int] = (0, 1, 2)) -> tuple[Model, float]:
    seconds = []
    for _ in repeats:
        begin = time.perf_counter()
        model = fit(data, template)
        seconds.append(time.perf_counter() - begin)
    return model, float(np.median(seconds))
