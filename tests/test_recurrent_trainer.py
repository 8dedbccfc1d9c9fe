"""The trainer of all recurrent networks: its loss in plain numpy, its descent, when it stops, how it is resumed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recorded import oscillator

jax = pytest.importorskip("jax")
eqx = pytest.importorskip("equinox")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402  only where it is installed

from koopctl.errors import DataError, FileFormatError  # noqa: E402
from koopctl.models.chart import Chart  # noqa: E402
from koopctl.models.recurrent import GRU, RNN, Training  # noqa: E402
from koopctl.models.recurrent.gru import GRUCell  # noqa: E402
from koopctl.models.recurrent.network import Network, Scales  # noqa: E402
from koopctl.models.recurrent.rnn import RNNCell  # noqa: E402
from koopctl.models.recurrent.stretches import Stretches  # noqa: E402
from koopctl.models.recurrent.trainer import Trainer, _descend, _loss, held_out_error, trained  # noqa: E402
from koopctl.models.recurrent.training import learning_rate  # noqa: E402

DATA, HELD_OUT, UNITS = oscillator(6, 40), oscillator(2, 40, seed=5), 4
LOSS = eqx.filter_jit(_loss)
BASE = Training(washout=4, horizon=8, batch=8, steps=60, check=20)


def network_of(cell=None) -> Network:
    """Return a network in double precision, as it starts, its readout large enough to matter."""
    X, dX = np.concatenate(DATA.X), np.concatenate([np.diff(x, axis=0) for x in DATA.X])
    S, chart = np.concatenate([np.concatenate([x[:-1], u], axis=1) for x, u in DATA]), Chart.plain(DATA.x_names)
    scales = Scales(S.mean(axis=0), 1 / S.std(axis=0), dX.std(axis=0), X.std(axis=0), chart.linear, chart.circle)
    return Network.around(cell or RNNCell(4, UNITS, np.random.default_rng(1)), scales, np.random.default_rng(2))


def trainer_of(training: Training, network: Network | None = None, kind: type[Trainer] = Trainer, data=DATA) -> Trainer:
    """Return a trainer on the recorded motion."""
    stretches = (
        Stretches.of(Chart.plain(part.x_names), part, training.washout + training.horizon + 1)
        for part in (data, HELD_OUT)
    )
    return kind(network or network_of(), training, *stretches)


def same(one: Network, other: Network) -> bool:
    """Return whether two networks are equal to the last bit."""
    pairs = zip(jax.tree.leaves(trained(one)), jax.tree.leaves(trained(other)), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def stretch(index: int = 0, length: int = 13) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates and inputs of some motion."""
    return DATA.X[index][:length], DATA.U[index][:length]


# ---------------------------------------------------------------------------------------------- the loss
def by_hand(network: Network, Q: np.ndarray, U: np.ndarray, washout: int, shares: np.ndarray) -> float:
    """Return the mean square error after the washout of a network that is shown shares of each measurement."""
    s, cell = network.scales, network.cell
    W, V, b, C = (np.array(part) for part in (cell.W, cell.V, cell.b, network.C))
    h, q, off = np.zeros(UNITS), Q[0], []
    for k in range(len(Q) - 1):
        q = (1 - shares[k]) * q + shares[k] * Q[k]
        h = np.tanh(W @ ((np.concatenate([q, U[k]]) - s.mean) * s.per_scale) + V @ h + b)
        q = q + s.gain * (C @ h)
        off.append((q - Q[k + 1]) / s.spread)
    return float(np.mean(np.array(off[washout:]) ** 2))


@pytest.mark.parametrize("forcing", ["none", "sparse", "generalised"])
def test_the_loss_by_hand(forcing: str):
    """What is shown: all of the washout; then nothing, every third sample, or a share of each."""
    training = replace(BASE, forcing=forcing, forcing_interval=3, forcing_share=0.3)
    after = {"none": [0] * 8, "sparse": [0, 0, 1, 0, 0, 1, 0, 0], "generalised": [0.3] * 8}[forcing]
    shares = np.array([1.0] * 5 + after)[:12]
    with jax.enable_x64(True):
        network, (Q, U) = network_of(), stretch()
        loss = LOSS(network, jnp.asarray(Q), jnp.asarray(U), jax.random.key(0), training)
        assert float(loss) == pytest.approx(by_hand(network, Q, U, 4, shares), rel=1e-12)
        if forcing == "none":
            error = held_out_error(network, jnp.asarray(Q[None]), jnp.asarray(U[None]), 4)
            assert float(error) == pytest.approx(float(loss) ** 0.5, rel=1e-12)


def test_noise_is_in_deviations_and_only_on_what_is_shown():
    """A network that predicts no change, shown everything, errs by the noise besides; shown nothing, not at all."""
    with jax.enable_x64(True):
        still = eqx.tree_at(lambda n: n.C, network_of(), jnp.zeros((2, UNITS)))
        Q, U = (jnp.asarray(part) for part in stretch(0, 41))
        U = jnp.concatenate([U, jnp.zeros((1, 2))])
        keys = jax.random.split(jax.random.key(3), 200)
        for forcing, base in (("sparse", BASE), ("none", replace(BASE, washout=1))):
            quiet = replace(base, forcing=forcing, forcing_interval=1)
            loud = replace(quiet, noise=0.5)
            without = LOSS(still, Q, U, keys[0], quiet)
            noisy = jax.vmap(lambda key, loud=loud: LOSS(still, Q, U, key, loud))(keys)
            assert float(LOSS(still, Q, U, keys[1], quiet)) == float(without)
            if forcing == "sparse":
                assert np.mean(noisy) - float(without) == pytest.approx(0.25, rel=0.05)
            else:  # the start is the last that is shown: one draw for the whole stretch
                assert np.mean(noisy) - float(without) == pytest.approx(0.25, rel=0.3)


def test_the_cells_own_penalty_is_weighed():
    """Its mean over the steps."""

    class Charged(RNNCell):
        def penalty(self, h, s, key):
            return jnp.sum(s**2)

    with jax.enable_x64(True):
        network, (Q, U) = network_of(Charged(4, UNITS, np.random.default_rng(1))), stretch()
        free, dear, all_shown = (
            float(LOSS(network, jnp.asarray(Q), jnp.asarray(U), jax.random.key(0), training))
            for training in (
                replace(BASE, forcing="sparse", forcing_interval=1),
                replace(BASE, forcing="sparse", forcing_interval=1, penalty=0.2),
                replace(BASE, forcing="sparse", forcing_interval=1, penalty=0.4),
            )
        )
        S = (np.concatenate([Q, U], axis=1)[:-1] - network.scales.mean) * network.scales.per_scale
        assert dear - free == pytest.approx(0.2 * np.mean(np.sum(S**2, axis=1)), rel=1e-9)
        assert all_shown - free == pytest.approx(2 * (dear - free), rel=1e-9)


# ---------------------------------------------------------------------------------------------- the descent
def test_gradients_are_clipped_by_their_norm():
    """Adam's first mean is a tenth of what it was given: at most the clip, and in the direction of the gradient."""
    means = {}
    for clip in (1e-3, 1e3):
        trainer = trainer_of(replace(BASE, clip=clip))
        trainer._one()
        adam = next(
            part for part in jax.tree.leaves(trainer._state, is_leaf=lambda p: hasattr(p, "mu")) if hasattr(part, "mu")
        )
        means[clip] = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(adam.mu)])
    assert np.linalg.norm(means[1e-3]) == pytest.approx(1e-4, rel=1e-4)
    assert np.linalg.norm(means[1e3]) > 2e-4
    assert means[1e-3] / 1e-4 == pytest.approx(means[1e3] / np.linalg.norm(means[1e3]), abs=1e-4)


def test_a_gradient_that_is_not_finite_moves_nothing():
    """A diverged stretch costs its batch, not the network."""
    trainer = trainer_of(BASE)
    Q, U = (jnp.asarray(part, "float32")[None] for part in stretch())
    args = jax.random.key(0), trainer._of_loss, jnp.asarray(1.0, "float32"), jnp.asarray(1e-3, "float32")
    after, _, loss = _descend(trainer._network, trainer._state, Q.at[0, 3].set(jnp.inf), U, *args)
    assert not np.isfinite(loss) and same(after, trainer._network)
    after, _, loss = _descend(trainer._network, trainer._state, Q, U, *args)
    assert np.isfinite(loss) and not same(after, trainer._network)


def test_the_step_size_rises_then_falls_to_nothing():
    """Over a tenth of the steps, at most 100; then along a cosine."""
    for steps, warm in ((60, 6), (5000, 100)):
        training = replace(BASE, steps=steps, learning_rate=0.02)
        assert learning_rate(training, warm) == pytest.approx(0.02)
        assert learning_rate(training, (steps + warm) / 2) == pytest.approx(0.01)
        assert learning_rate(training, steps) == learning_rate(training, 2 * steps) == pytest.approx(0.0, abs=1e-15)
        known = optax.warmup_cosine_decay_schedule(0.02 / warm, 0.02, warm, steps)
        for step in (0, 1, warm - 1, warm, warm + 1, steps // 3, steps - 1):
            assert learning_rate(training, step) == pytest.approx(float(known(step)), rel=1e-4, abs=1e-8)
    assert learning_rate(replace(BASE, steps=1), 0) > 0


def test_what_the_loss_does_not_know_compiles_nothing_anew():
    """Other learning rates, clips, steps and seeds run what was compiled for the first; another loss does not."""
    looks = []

    class Watched(RNNCell):
        def __call__(self, h, s, key):
            looks.append(key is None)
            return super().__call__(h, s, key)

    def tracings(training: Training) -> int:
        before = looks.count(False)
        trainer_of(training, network_of(Watched(4, UNITS, np.random.default_rng(1))))._one()
        return looks.count(False) - before

    first = tracings(BASE)
    others = {"learning_rate": 0.1, "clip": 2.0, "steps": 90, "seed": 3, "check": 7, "patience": 2, "held_out": 0.5}
    assert first > 0 and all(tracings(replace(BASE, **{name: value})) == 0 for name, value in others.items())
    assert tracings(replace(BASE, noise=0.1)) == first


def test_the_penalty_is_of_the_very_step():
    """A cell's penalty gets the key that its step gets, so that both speak of the same noise."""

    class Tossing(RNNCell):
        def __call__(self, h, s, key):
            return jnp.full(UNITS, jax.random.normal(key))

        def penalty(self, h, s, key):
            return jax.random.normal(key)

    with jax.enable_x64(True):
        cell = Tossing(4, UNITS, np.random.default_rng(1))
        readout = [jnp.full((2, UNITS), 1 / UNITS), jnp.zeros((2, 4)), jnp.zeros(2)]
        network = eqx.tree_at(lambda n: [n.C, n.L, n.c], network_of(cell), readout)
        Q, U = jnp.zeros((13, 2)), jnp.zeros((13, 2))
        shown = replace(BASE, washout=1, forcing="sparse", forcing_interval=1)  # each step errs by its own draw
        key, weight = jax.random.key(4), 1.0
        alone, charged = (float(LOSS(network, Q, U, key, replace(shown, penalty=p))) for p in (0.0, weight))
        draws = jax.vmap(jax.random.normal)(jax.random.split(jax.random.split(key)[1], 12))
        per_draw = float(np.mean((network.scales.gain / network.scales.spread) ** 2))
        assert alone == pytest.approx(per_draw * float(jnp.mean(draws[1:] ** 2)), rel=1e-9)
        assert charged - alone == pytest.approx(float(jnp.mean(draws)), rel=1e-9)


def test_training_stops_where_nothing_is_gained():
    """After `patience` looks in vain, with the best network there was."""
    idle = trainer_of(replace(BASE, steps=1000, check=1, patience=3, learning_rate=1e-30))
    idle.run()
    assert idle.history.step == [1, 2, 3, 4] and len(set(idle.history.error)) == 1
    wild = trainer_of(replace(BASE, check=5, learning_rate=0.3))
    best, history = wild.run(), wild.history
    assert history.error[history.best] < history.error[-1] and history.step[-1] == 60
    Q, U = wild._judged
    assert float(held_out_error(best, Q, U, 4)) == pytest.approx(min(history.error), rel=1e-6)


def test_training_that_never_was_finite_says_so():
    """And what to change."""
    X = [1e30 * x for x in HELD_OUT.X]
    far = type(HELD_OUT)(X, HELD_OUT.U, HELD_OUT.dt, HELD_OUT.x_names, HELD_OUT.u_names)
    stretches = (Stretches.of(Chart.plain(part.x_names), part, 13) for part in (DATA, far))
    with pytest.raises(DataError, match="never came to a finite held-out error; lower learning_rate"):
        Trainer(network_of(), replace(BASE, steps=2, check=1), *stretches).run()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_it_trains_in_the_asked_precision(precision: str):
    """All of it, and leaves JAX as it was."""
    model = RNN(3, training=Training(washout=4, horizon=8, batch=8, steps=20, check=20, precision=precision)).fit(DATA)
    W = model.network_.cell.W
    assert W.dtype == np.float64 and np.array_equal(W, W.astype("float32")) == (precision == "float32")
    assert not jax.config.jax_enable_x64


def test_a_seed_is_all_the_chance_there_is(capfd):
    """The same bytes twice, other ones with another seed; and nothing is said unless it is asked for."""
    runs = [trainer_of(replace(BASE, noise=0.1, seed=seed)).run() for seed in (1, 1, 2)]
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])
    assert capfd.readouterr() == ("", "")
    trainer_of(replace(BASE, noise=0.1, seed=1, progress=True)).run()
    out, err = capfd.readouterr()
    assert out == "" and "RNNCell" in err and "60/60" in err


# ---------------------------------------------------------------------------------------------- checkpoints
class Interrupted(Trainer):
    """Loses its power after the second look, on its way to the third."""

    def _one(self) -> float:
        if self._step == 45:
            raise KeyboardInterrupt
        return super()._one()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_resumed_training_is_the_uninterrupted_one(tmp_path, precision: str):
    """The same network to the last bit, from the last look on; a file's name needs no ending."""
    with jax.enable_x64(precision == "float64"):
        training = replace(BASE, noise=0.1, precision=precision)
        whole = trainer_of(training)
        expected = whole.run()
        kept = replace(training, checkpoint=tmp_path / "kept")
        with pytest.raises(KeyboardInterrupt):
            trainer_of(kept, kind=Interrupted).run()
        again = trainer_of(kept)
        assert again.history.step == [20, 40] and again.history.error == whole.history.error[:2]
        assert same(again.run(), expected) and not same(expected, network_of())
        assert again.history.step == [20, 40, 60] and again.history.error == whole.history.error
        assert again.history.seconds == sorted(again.history.seconds)
        finished = trainer_of(kept)
        assert finished._one is not None and same(finished.run(), expected) and finished._step == 60
        further = trainer_of(replace(kept, steps=80))
        further.run()
        assert further.history.step == [20, 40, 60, 80]


def test_a_checkpoint_belongs_to_one_training(tmp_path):
    """Other settings, another cell, another start, other data: refused, instead of a mixture of two."""
    kept = replace(BASE, steps=20, checkpoint=str(tmp_path / "kept.npz"))
    trainer_of(kept).run()
    others = [
        (replace(kept, learning_rate=1e-3), network_of(), DATA),
        (kept, network_of(GRUCell(4, UNITS, 9.0, np.random.default_rng(1))), DATA),
        (kept, network_of(RNNCell(4, UNITS, np.random.default_rng(7))), DATA),
        (kept, network_of(), oscillator(6, 40, seed=3)),
    ]
    for training, network, data in others:
        with pytest.raises(FileFormatError, match="checkpoint of another training; remove it"):
            trainer_of(training, network, data=data)


def test_a_model_goes_on_from_its_checkpoint(tmp_path):
    """Fitted again it finds the work done; its own file knows nothing of the checkpoint."""
    settings = {"washout": 4, "horizon": 8, "batch": 8, "steps": 20, "check": 10, "checkpoint": tmp_path / "kept.npz"}
    first = GRU(3, training=settings).fit(DATA)
    again = GRU(3, training=settings).fit(DATA)
    assert again.history_ == first.history_
    x, u = first.window_.states(DATA.X[0], DATA.U[0]), DATA.U[0][4:]
    assert np.array_equal(again.step(x[:-1], u), first.step(x[:-1], u))
    assert first.pack()[0]["params"]["training"]["checkpoint"] is None


# ---------------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("change", "says"),
    [
        *(({name: 0}, f"{name} is 0") for name in ("washout", "horizon", "batch", "steps", "check", "patience")),
        ({"forcing_interval": 2.5}, "forcing_interval is 2.5"),
        ({"seed": -1}, "seed is -1"),
        *(({name: 0.0}, f"{name} is 0.0; it must be positive") for name in ("learning_rate", "clip", "inversion")),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        *(({name: -0.1}, f"{name} is -0.1; it must not be negative") for name in ("noise", "penalty")),
        ({"noise": np.nan}, "noise is nan"),
        *(({name: 1.0}, f"{name} is 1.0; it is a share") for name in ("held_out", "forcing_share")),
        ({"forcing": "strong"}, "forcing is 'strong'; it is 'none' or 'sparse' or 'generalised'"),
        ({"method": "guess"}, "method is 'guess'; it is 'gradient' or 'target_propagation'"),
        ({"precision": "half"}, "precision is 'half'; it is 'float32' or 'float64'"),
    ],
)
def test_bad_settings_are_refused(change: dict, says: str):
    """With what they may be, and before anything is trained."""
    with pytest.raises(DataError, match=says):
        Training(**change)
    with pytest.raises(DataError, match=says):
        RNN(3, training=change).fit(DATA)
