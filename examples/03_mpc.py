# /// script
# requires-python = ">=3.11"
# dependencies = ["koopctl"]
# ///
"""Carry a hanging load along a path: preview, bounds on rate and swing, wind, gusts, and a cost of one's own.

Run it from anywhere: python examples/03_mpc.py --output 03_mpc
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cvxpy as cp
import numpy as np
from gymnasium.wrappers import TransformAction
from matplotlib import pyplot as plt

import koopctl as kc

DT, N, STEPS = 0.04, 25, 150  # [s]; plans of 1 s, runs of 6 s
DOWN, SWING = np.pi, np.radians(5.0)  # [rad], where the pole hangs like the load of a crane, and how far it may swing
WIND, GUST = 1.5, 0.6  # [N], what pushes the cart besides the law: always, and at random


def main() -> None:
    """Learn, ask, review, run with each option and without it, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("03_mpc"), help="folder of the law and the picture")
    output = parser.parse_args().output

    # 1 Learn: random forces in still air; a network, and a linear recursion of lifted states for a cost of one's own.
    starts = [0, DOWN, 0, 0] + np.random.default_rng(0).uniform(-1, 1, (400, 4)) * [2.0, 0.3, 1.5, 1.0]
    data = kc.collect(kc.envs.CartPoleSwingUp, episodes=400, steps=20, initial_states=starts)
    model = kc.fit(data, kc.SampledRNN(100))
    lifted = kc.fit(data, kc.EDMDc(kc.SampledFeatures(40), spectral_radius=1.0))  # nothing that hangs grows by itself

    # 2 Ask: the force and its rate are bounded for good; the bounds of the swing give way, at a price.
    task = kc.Task({"theta": DOWN}, Q={"pos": 50.0, "theta": 5.0, "vel": 1.0, "thetadot": 0.5}, R=0.01, horizon=N)
    task = task.replace(u_min=-8.0, u_max=8.0, du_max=1.0, slack_price={"theta": 1e3})
    task = task.replace(y_min={"theta": DOWN - SWING}, y_max={"theta": DOWN + SWING})

    # 3 Design: without and with an estimate of what the plant adds to the model; look at a law before it runs.
    law, free = kc.design(model, task), kc.design(model, task, offset_free=True)
    print(kc.review(free))

    # 4 A cost of one's own, within the task's bounds: 3 cm from the path cost nothing, the force its size and changes.
    part, aim = np.clip((DT * np.arange(STEPS + N + 1) - 1.0) / 2.4, 0.0, 1.0), cp.Parameter(N)
    path = np.outer(1.5 * part**2 * (3.0 - 2.0 * part), [1, 0, 0, 0, 0]) - [0, 1, 0, 0, 0]  # [m], cos and sin, rates

    def formulate(x, u, y):
        late, end, change = cp.abs(x[1:, 0] - aim) - 0.03, cp.sum_squares(x[N, 2:]), cp.sum_squares(cp.diff(u[:, 0]))
        return 50 * cp.sum(cp.pos(late)) + cp.norm1(u) + 0.3 * change + 30 * end, []

    own = kc.ConvexMPC(lifted, task, formulate, offset_free=True)

    # 5 Run: 1.5 m in 2.4 s, in a wind that no sensor sees and no recording holds. A file holds the whole law.
    def run(law, path=path, wind=0.0, gust=0.0, seed=0, steps=100):
        rng = np.random.default_rng(seed)
        plant = TransformAction(kc.envs.CartPoleSwingUp(), lambda u: u + wind + gust * rng.normal(), None)
        return kc.simulate(plant, law, steps=steps, reference=path, initial_state=[0.0, DOWN, 0.0, 0.0])

    def ahead(k):
        aim.value = path[k + 1 : k + N + 1, 0]  # the cost has no target but its own

    ways = {"without preview": (law, lambda k: path[k]), "with preview": (law, path)}
    ways |= {"and offset-free": (kc.load(free.save(output / "law.npz")), path), "own cost": (own, ahead)}
    runs = {name: run(*way, WIND, steps=STEPS) for name, way in ways.items()}
    for name, ran in runs.items():
        off = 1e3 * np.abs(ran.X[:, 0] - path[: STEPS + 1, 0])
        print(f"{name:15s}  at most {off.max():3.0f} mm off the path, {off[-25:].mean():4.1f} mm in the last second")

    # 6 Gusts: the bounds are drawn in by how far predictions were off in ten runs, at 90 % of the time.
    recorded = [run(law, gust=GUST, seed=seed).to_rollouts() for seed in range(100, 110)]
    bound = kc.error_bound(model, recorded, N, coverage=0.9, joint=False)
    for words, margin in (("without a margin", None), ("with the margin", bound.half_widths)):
        X = np.concatenate([run(kc.design(model, task.replace(margin=margin)), gust=GUST, seed=k).X for k in range(3)])
        share = np.mean(np.abs(np.arctan2(X[:, 2], -X[:, 1])) > SWING)
        print(f"in gusts, {words}, {share:.1%} of the time beyond the bound of the swing")

    # 7 Look: position, swing and force of the runs in the wind.
    figure, (top, middle, bottom) = plt.subplots(3, sharex=True, figsize=(8, 7), layout="constrained")
    for name, ran in runs.items():
        top.plot(ran.time, ran.X[:, 0], label=name)
        middle.plot(ran.time, np.degrees(np.arctan2(-ran.X[:, 2], -ran.X[:, 1])))
        bottom.step(ran.time[:-1], ran.U, where="post")
    top.plot(ran.time, path[: STEPS + 1, 0], "k--", label="path")
    middle.hlines(np.degrees([-SWING, SWING]), 0.0, ran.time[-1], "k", "dotted", label="soft bounds")
    for axis, words in ((top, "position [m]"), (middle, "swing [degrees]"), (bottom, "force [N]")):
        axis.set(ylabel=words, xlabel="time [s]" if axis is bottom else None)
    figure.legend(loc="outside upper center", ncols=3)
    figure.savefig(output / "crane.png", dpi=150)
    print(f"law and picture: {output}")


if __name__ == "__main__":
    main()
