"""Other packages at the same work: each in a virtual environment of its own, fed and read through files.

A *rival* is a script beside this file plus the pinned packages it needs. `run_rival` makes the environment, writes
the *problem* to a file, runs the script under `harness.py` in the rival's own interpreter (one thread, no koopctl
there) and reads the *result*. Whatever goes wrong is a result too: `{"rival": name, "failed": "why"}`.

The problem is a flat dictionary of arrays, without pickles. Both kinds hold `kind`, `dt` [s], `width` (features of a
rival that makes its own) and `repeats` (timed fits; the median counts, one more before them warms up). Besides:

**motion**, motion under inputs (`problems.motion_problem`):

- `X` (sum of T_i + 1, nx), `U` (sum of T_i, nu), `lengths` (n,): the training episodes one after another, T_i inputs
  each; U[i][k] acts between X[i][k] and X[i][k + 1].
- `X_test`, `U_test`, `lengths_test`: the same for the test episodes. Only the first state of each is used.
- `weights` (nx, nf), `biases` (nf,), `mean` (nx,), `scale` (nx,): the layer tanh(((x - mean) / scale) @ weights +
  biases), so that a rival can fit the very same features; left out when there is none.
- `joint_weights` (nx + nu, nf), `joint_biases`, `joint_mean`, `joint_scale`: the same over (x, u) together.

**attractor**, one series without input (`problems.attractor_problem`):

- `series` (n, nx): the training data.
- `windows` (m, w, nx): true motion that ends in the m states to predict from, for models with a memory.
- `steps`: length of these predictions. `free_steps`: length of one long run on from the end of the series.
- `washout`: samples that drive a memory before it counts.

The result holds `rival`, `package` (name and version), `numpy` (version) and `entries`, one for each way of using
the package and each kind of roll-out: `label`, `rollout`, `settings` (those chosen), `trials` (every setting tried
with its error on held-out training data, None where it ran away or failed), `fit_s` and `fit_times` [s], and:

- motion: `predictions`, laid out as `X_test`; row 0 of each episode is the given state.
- attractor: `predictions` (m, steps + 1, nx) and `free_run` (free_steps + 1, nx); row 0 is the given state.

An entry that failed alone holds `label`, `rollout` and `failed`. Predictions that ran away hold inf or NaN.

Settings are chosen by the rival's side of the harness, the same way for all: each of a declared grid is fitted to
the first 80 % of the training data and judged by multi-step error on the rest; the best is then fitted, timed, to
all of it. Time to import, to choose and to bring the data into the package's own layout does not count.
"""
