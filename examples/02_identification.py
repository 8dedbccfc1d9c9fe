# /// script
# requires-python = ">=3.11"
# dependencies = ["koopctl"]
# ///
"""Learn a hardening spring from a logger's file: pauses, missing cells, and a noisy sensor of the position alone.

Run it from anywhere: python examples/02_identification.py --output 02_identification
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import koopctl as kc

DT, RUNS, SAMPLES = 0.05, 61, 160  # [s]; runs of 8 s
NOISE = 0.002  # [m], standard deviation of the position sensor; the speed is not measured
GRID = {"delays": [1, 2, 4, 8], "ridge": [1e-2, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10]}
HORIZON = 40  # [steps], how far ahead predictions are judged and bounded


def main() -> None:
    """Record, read, choose, report, look at the spectrum, observe and bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("02_identification"), help="folder of all that is written")
    output = parser.parse_args().output

    # 1 Record: some runs pause for 0.75 s, in some a cell is missing, and the last one is not in the file.
    rng = np.random.default_rng(0)
    force = np.repeat(rng.uniform(-1.0, 1.0, (RUNS, SAMPLES // 4)), 4, axis=1)
    truth, speed = np.tile(rng.uniform(-0.8, 0.8, (RUNS, 1)), SAMPLES), np.zeros(RUNS)
    for k in range(SAMPLES - 1):
        speed += DT * (4.0 * force[:, k] - 4.0 * truth[:, k] - 8.0 * truth[:, k] ** 3 - 0.5 * speed)
        truth[:, k + 1] = truth[:, k] + DT * speed
    measured = truth + NOISE * rng.normal(size=truth.shape)
    measured[1::4, 30] = np.nan
    run, k = np.indices(truth.shape).reshape(2, -1)
    logged = (run < RUNS - 1) & ((run % 10 > 0) | (k < 60) | (k >= 75))
    table = np.column_stack([run, DT * k, measured.ravel(), force.ravel()])[logged]
    output.mkdir(parents=True, exist_ok=True)
    np.savetxt(output / "recording.csv", table, "%.5g", ",", header="run,time,pos,force", comments="")

    # 2 Read: cut where something is missing; whole episodes are kept back for the bound, and for its check.
    data = kc.Rollouts.from_csv(output / "recording.csv", x="pos", u="force", time="time", episode="run")
    train, rest = data.split(0.6)
    calibration, fresh = rest.split(0.7)
    print(data)

    # 3 Choose: delays and ridge by their error up to HORIZON steps ahead, on episodes the trials do not see.
    model = kc.fit(train, kc.EDMDc(kc.SampledFeatures(100)), search=kc.Search(GRID, HORIZON, progress=False))
    print(f"\n{model.search_}")

    # 4 Report: errors, conditioning, coverage, warnings in words.
    model.plot().savefig(output / "report.png")
    print(f"\n{model.report_}")

    # 5 Spectrum: of the lifted recursion, measured on motion it was not fitted to.
    spectrum = kc.spectrum(model, calibration)
    spectrum.plot().savefig(output / "spectrum.png")
    print(f"\n{spectrum.table(by='amplitude', rows=6)}")

    # 6 Observe: the last run through the noise, and through a second in which the sensor is silent.
    observer = kc.ExtendedKalmanFilter(model, sensor_noise=NOISE)
    heard = np.where(np.arange(SAMPLES) // 20 == 4, np.nan, measured[-1])
    estimate = np.array([observer.update([y], [u])[0] for y, u in zip(heard, np.roll(force[-1], 1), strict=True)])
    off, silent = np.split(1e3 * (estimate - truth[-1])[20:100], [60])
    print(f"\n2 mm of noise become {off.std():.1f} mm, and a second of silence at most {np.abs(silent).max():.0f} mm")

    # 7 Bound: how far predictions may be off, and whether that holds on episodes nothing has seen.
    bound = kc.error_bound(model, calibration, HORIZON, coverage=0.9)
    bound.plot().savefig(output / "bound.png")
    print(f"\n{bound}\n{bound.coverage_on(fresh):.0%} stay inside on {len(fresh)} fresh episodes\n\npictures: {output}")


if __name__ == "__main__":
    main()
