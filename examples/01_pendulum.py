# /// script
# requires-python = ">=3.11"
# dependencies = ["koopctl"]
# ///
"""Swing a pendulum up with a controller learnt from random motion, beside LQR and the lifted linear MPC.

Run it from anywhere: python examples/01_pendulum.py --output 01_pendulum
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import koopctl as kc
from koopctl.models.scores import prediction_errors

PLANT = "Pendulum-v1"  # the angle is 0 upright, and its rate is cut at 8 rad/s
EPISODES, STEPS = 300, 60  # 18 000 transitions of 0.05 s
TORQUE = 2.0  # [N m], two fifths of what holds the pendulum level
HORIZON = 50  # [steps], 2.5 s: as long as a swing-up takes
UNITS = 300  # hidden units of the network
SHOWN = (1, 5, 10, 20, 50)  # [steps] ahead at which predictions are judged
SEEDS = range(100, 105)  # starts of the comparison


def main() -> None:
    """Record, learn, design, run and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("01_pendulum"), help="folder of the report")
    output = parser.parse_args().output

    # 1 Record: random torques, each held for two steps; 30 further episodes stay unseen.
    data = kc.collect(PLANT, episodes=EPISODES, steps=STEPS, seed=0)
    unseen = kc.collect(PLANT, episodes=30, steps=STEPS, seed=1)
    print(data)

    # 2 Learn: a network whose hidden units are sampled from the data, and a linear model of lifted states.
    start = time.perf_counter()
    network = kc.fit(data, kc.SampledRNN(n_features=UNITS, random_state=0))
    print(f"network of {UNITS} units fitted in {time.perf_counter() - start:.2f} s")
    lifted = kc.fit(data, kc.EDMDc(kc.SampledFeatures(100, random_state=0)))
    print(*network.notes_, sep="\n")

    # 3 Predict: once with the network (or the lift) evaluated at every step, once with one linear recursion.
    models = {"SampledRNN": network, "EDMDc": lifted}
    errors = {name: prediction_errors(model, unseen, max(SHOWN)) for name, model in models.items()}
    print("\nprediction error in per cent of the motion's spread\nsteps ahead", *(f"{k:>9d}" for k in SHOWN))
    for name, error in errors.items():
        for kind, values in (("re-lifted", error.relifted), ("linear", error.linear)):
            print(f"{name + ' ' + kind:<21s}", *(f"{100 * values[k - 1]:9.3g}" for k in SHOWN))

    # 4 Design: what is wanted, by name, and three laws that want the same.
    task = kc.Task(target=0.0, Q={"theta": 1.0, "thetadot": 0.1}, R=0.001, u_min=-TORQUE, u_max=TORQUE, horizon=HORIZON)
    mpc = kc.design(network, task)
    laws = {"re-linearised MPC": mpc, "lifted MPC": kc.design(lifted, task), "LQR": kc.LQR(network, task)}

    # 5 Run: the law meets the real plant.
    run = kc.simulate(PLANT, mpc, seed=SEEDS[0])
    final = np.degrees(np.arctan2(run.X[-1, 1], run.X[-1, 0]))
    print(f"\nreturn {run.total_reward:.0f}, {abs(final):.1f} degrees from upright after {run.time[-1]:.0f} s")

    # 6 Compare: the same starts for every law.
    table = kc.compare(PLANT, laws, SEEDS)
    print(f"\n{table}\n\nreport: {table.report(output, models=models, held_out=unseen)}")


if __name__ == "__main__":
    main()
