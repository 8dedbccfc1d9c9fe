"""Batch, stream, weights and forgetting are one least squares; the features of a fit never exist at one time."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from recorded import DT, linear, oscillator, pendulum

import koopctl as kc
from koopctl.errors import DataError, KoopctlError, ShapeError

MODELS = {
    "linear": (kc.EDMDc(kc.Identity(), ridge=0.0), linear),
    "qr": (kc.EDMDc(kc.Identity(), ridge=0.0, solver="qr"), linear),
    "polynomial": (kc.EDMDc(kc.Polynomial(3), ridge=0.0), oscillator),
    "bilinear": (kc.EDMDc(kc.Identity(), inputs="bilinear", ridge=0.0), oscillator),
    "delays": (kc.EDMDc(kc.Identity(), delays=2, ridge=0.0), oscillator),
    "angle": (kc.EDMDc(kc.Polynomial(2), ridge=0.0), pendulum),
}
each = pytest.mark.parametrize(("model", "data"), MODELS.values(), ids=MODELS)


def steps(model: kc.EDMDc | kc.SampledRNN, data: kc.Rollouts) -> np.ndarray:
    """Return the model's next states at all samples of some rollouts."""
    X, U, _ = model.window_.transitions(data)
    return model.step(X, U)


def weighted_truth(model: kc.EDMDc, data: kc.Rollouts, weight: list[np.ndarray]) -> np.ndarray:
    """Return the coefficients (nq, p) of lstsq on [v, w, 1] standardised as the model standardises, weights given."""
    X, U, dQ = model.window_.transitions(data)
    w = np.sqrt(np.concatenate([part[model.delays :] for part in weight]))[:, None]
    Phi = np.column_stack([(U - model.u_mean_) / model.u_scale_, (X - model.mean_) / model.scale_, np.ones(len(X))])
    return np.linalg.lstsq(w * Phi, w * dQ / model.gain_, rcond=None)[0].T


@each
def test_batch_pieces_and_stream_are_one(model, data):
    """Everything at once, piece by piece, through an iterator, a generator, and a list: the same predictions."""
    whole = data(9, 40)
    parts = [whole[:2], whole[2:3], whole[3:9]]
    batch = kc.fit(whole, model)
    pieces = kc.fit(parts[0], model)
    for part in parts[1:]:
        pieces.partial_fit(part)
    found = [pieces, kc.fit(iter(parts), model), kc.fit((part for part in parts), model), kc.fit(parts, model)]
    found.append(kc.fit(iter([parts[:2], parts[2]]), model))
    for other in found:
        assert steps(other, whole) == pytest.approx(steps(batch, whole), abs=1e-8)
        assert other._learnt_.n == batch._learnt_.n
        assert other.envelope_.low == pytest.approx(batch.envelope_.low)
        assert other.residual_covariance_ == pytest.approx(batch.residual_covariance_, rel=1e-4, abs=1e-12)
    if data is linear:
        assert all(other.A_ == pytest.approx(batch.A_, abs=1e-8) for other in found)


def test_a_streamed_network_is_the_least_squares_of_its_own_features():
    """The first part fixes the hidden units; the outer layer is that of all parts."""
    whole = oscillator(8, 60)
    model = kc.fit(iter([whole[:3], whole[3:5], whole[5:]]), kc.SampledRNN(30, ridge=1e-6))
    X, U, dQ = model.window_.transitions(whole)
    S = (np.column_stack([X, U]) - model.mean_) / model.scale_
    Phi = np.column_stack([model.features_.transform(S), S, np.ones(len(S))])
    penalty = np.sqrt(len(S) * 1e-6) * np.eye(Phi.shape[1])
    penalty[-1] = 0.0
    rows, targets = np.concatenate([Phi, penalty]), np.concatenate([dQ / model.gain_, np.zeros((len(penalty), 2))])
    theta = np.linalg.lstsq(rows, targets, rcond=None)[0].T
    assert model.solution_.theta == pytest.approx(theta, rel=1e-6, abs=1e-8)
    assert (
        kc.SampledRNN(30, ridge=1e-6).fit(whole[:3]).features_.weights_.tobytes() == model.features_.weights_.tobytes()
    )


@each
def test_weights_are_copies(model, data):
    """An episode that counts three times is there three times; half of everything changes nothing."""
    whole = data(5, 40)
    counts = [1, 3, 2, 1, 4]
    copies = kc.Rollouts.join([whole[i] for i, n in enumerate(counts) for _ in range(n)])
    weighted = kc.fit(whole, model, sample_weight=counts)
    assert weighted._learnt_.n == kc.fit(copies, model)._learnt_.n
    assert steps(weighted, whole) == pytest.approx(steps(kc.fit(copies, model), whole), abs=1e-8)
    halved = kc.fit(whole, model, sample_weight=[np.full(len(u), n / 2) for u, n in zip(whole.U, counts, strict=True)])
    assert steps(halved, whole) == pytest.approx(steps(weighted, whole), abs=1e-8)


@pytest.mark.parametrize(
    "model", [kc.SampledRNN(30), kc.EDMDc(kc.RandomFourier(20)), kc.EDMDc(kc.Identity())], ids=repr
)
def test_what_weighs_nothing_is_not_there(model):
    """Neither in the coefficients nor in scales, hidden units, envelope or report, however wild it is."""
    clean = oscillator(6, 40)
    wild = [x.copy() for x in clean.X]
    wild[2][15:18] *= 1e6
    weight = [np.ones(40) for _ in range(6)]
    weight[2][14:18] = 0.0  # the transitions that touch rows 15 to 17
    found = kc.fit(kc.Rollouts(wild, clean.U, DT, clean.x_names, clean.u_names), model, sample_weight=weight)
    X, U = list(clean.X), list(clean.U)
    X[2:3], U[2:3] = [X[2][:15], X[2][18:]], [U[2][:14], U[2][18:]]
    kept = kc.fit(kc.Rollouts(X, U, DT, clean.x_names, clean.u_names), model)
    assert steps(found, clean) == pytest.approx(steps(kept, clean), abs=1e-10)
    assert np.array_equal(found.envelope_.high, kept.envelope_.high)
    assert found.report_.relifted == pytest.approx(kept.report_.relifted)
    assert found.report_.n_transitions == kept.report_.n_transitions == 236


@pytest.mark.parametrize("solver", ["cholesky", "qr"])
@pytest.mark.parametrize("delays", [0, 2])
def test_forgetting_is_a_weight_by_age(solver, delays):
    """From the first call on, over episodes and calls: the k-th last transition counts forgetting^k."""
    parts = [oscillator(2, 30, seed=k) for k in range(3)]
    model = kc.EDMDc(kc.Identity(), delays=delays, ridge=1e-13, solver=solver)
    for part in parts:
        model.partial_fit(part, forgetting=0.97)
    whole = kc.Rollouts.join(parts)
    ages = np.arange(len(whole) * (30 - delays))[::-1].reshape(len(whole), -1)
    weight = [np.concatenate([np.zeros(delays), 0.97**age]) for age in ages]
    truth = weighted_truth(model, whole, weight)
    X, U, dQ = model.window_.transitions(whole)
    Phi = np.column_stack([(U - model.u_mean_) / model.u_scale_, (X - model.mean_) / model.scale_, np.ones(len(X))])
    assert Phi @ model.solution_.theta.T == pytest.approx(Phi @ truth.T, abs=1e-6)
    assert model._learnt_.n == pytest.approx((0.97**ages).sum())


def test_weights_and_forgetting_multiply():
    """A weight given for new data fades like the rest."""
    first, second = oscillator(3, 40), oscillator(2, 40, seed=1)
    given = [np.linspace(0.5, 2, 40), np.full(40, 3.0)]
    model = kc.EDMDc(kc.Identity(), ridge=0.0).fit(first)
    model.partial_fit(second, sample_weight=given, forgetting=0.95)
    fade = 0.95 ** np.arange(80)[::-1]
    weight = [np.full(40, 0.95**80)] * 3 + [given[0] * fade[:40], given[1] * fade[40:]]
    assert model.solution_.theta[:2] == pytest.approx(weighted_truth(model, first + second, weight), abs=1e-8)


@pytest.mark.parametrize("count", [8, 1200])
def test_the_order_of_episodes_changes_nothing(count):
    """The same hidden units to the last bit, also where only a sample of 50 000 transitions fixes them."""
    data = oscillator(count, 45)
    shuffled = data[np.random.default_rng(0).permutation(count).tolist()]
    model, other = (kc.fit(part, kc.SampledRNN(25)) for part in (data, shuffled))
    assert model.features_.weights_.tobytes() == other.features_.weights_.tobytes()
    assert steps(model, data[:3]) == pytest.approx(steps(other, data[:3]), abs=1e-8)
    again = kc.fit(data, kc.SampledRNN(25))
    assert again.C_.tobytes() == model.C_.tobytes() and again.c_.tobytes() == model.c_.tobytes()


def test_the_features_never_exist_at_one_time():
    """100 000 pairs of 400 features are 320 MB; beyond the data's own peak a fit takes a small part of it."""
    script = """
import resource, numpy as np, koopctl as kc
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
rng = np.random.default_rng(0)
data = kc.Rollouts([np.sin(np.cumsum(rng.normal(size=(100_001, 3)), 0) / 50)], [rng.normal(size=(100_000, 1))], 0.1)
kc.SampledRNN(5).fit(data)
before = peak()
kc.SampledRNN(400).fit(data)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 60.0  # [MiB]


# ------------------------------------------------------------------ what is told
def test_what_later_parts_lack_is_counted():
    """Missing samples of every part are in the notes, as one sentence."""
    parts = []
    for seed in range(3):
        good = oscillator(2, 40, seed=seed)
        X = [x.copy() for x in good.X]
        X[0][10] = np.nan
        parts.append(kc.Rollouts(X, good.U, DT))
    models = [kc.fit(source, kc.EDMDc(kc.Identity())) for source in (iter(parts), parts)]
    models.append(kc.EDMDc(kc.Identity()).fit(parts[0]).partial_fit(parts[1]).partial_fit(parts[2]))
    for model in models:
        assert [note for note in model.notes_ if "NaN" in note] == [
            "3 rows of X held NaN: 6 of 240 transitions were dropped, 3 episodes were split into 6"
        ]


def test_the_report_sees_all_parts():
    """Spread, counts and independent samples of the pieces are those of the whole, also about different centres."""
    whole = oscillator(8, 60)
    X = [x + [3.0 * (i > 3), 0.0] for i, x in enumerate(whole.X)]
    whole = kc.Rollouts(X, whole.U, DT)
    pieces = kc.EDMDc(kc.Identity()).fit(whole[:2]).partial_fit(whole[2:5]).partial_fit(whole[5:])
    batch = kc.EDMDc(kc.Identity()).fit(whole)
    assert pieces._probe_.spread == pytest.approx(batch._probe_.spread)
    assert batch._probe_.spread == pytest.approx(np.concatenate(whole.X).std(axis=0))
    assert pieces.report_.n_transitions == 480 and pieces.report_.n_episodes == 8
    assert len(pieces.report_.relifted) == len(batch.report_.relifted) == 50
    for x, u in zip(whole.X[0][:5], whole.U[0], strict=False):
        pieces.partial_fit(kc.Rollouts([np.stack([x, x])], [u[None]], DT))
    assert len(pieces.report_.relifted) == 50  # single transitions do not end what is known of longer predictions


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (lambda d: iter([]), "iterator of rollouts is empty"),
        (lambda d: iter(d), "no Rollouts"),
        (lambda d: iter([d, "more"]), "not str"),
        (lambda d: iter([d, d.select(["vel"])]), "columns"),
        (lambda d: 3.0, "not float"),
        (lambda d: np.zeros((3, 2)), "not ndarray"),
        (lambda d: {}, "iterator of rollouts is empty"),
    ],
)
def test_what_is_no_stream_of_rollouts_is_refused(source, said):
    """And the model stays unfitted."""
    model = kc.EDMDc(kc.Identity())
    with pytest.raises(KoopctlError, match=said):
        model.fit(source(oscillator()))
    assert not hasattr(model, "window_")


def test_a_stream_has_no_weights():
    """They are one array an episode, which an iterator does not count."""
    with pytest.raises(DataError, match="give a list"):
        kc.fit(iter([oscillator()]), kc.EDMDc(), sample_weight=[1.0] * 6)


@pytest.mark.parametrize(
    ("weight", "error", "said"),
    [
        ([1.0] * 5, DataError, "5 entries for 6 episodes"),
        ([np.ones(49)] + [1.0] * 5, ShapeError, r"expected \(50,\)"),
        ([-1.0] + [1.0] * 5, DataError, "negative"),
        ([np.nan] + [1.0] * 5, DataError, "finite"),
        ([0.0] * 6, DataError, "every sample_weight is zero"),
        (2.0, DataError, "one array"),
        ("heavy!", DataError, "one array"),
        (["a"] * 6, DataError, "not numeric"),
        ([np.r_[1.0, np.zeros(49)]] + [0.0] * 5, DataError, "nothing to solve for"),
    ],
)
def test_weights_are_checked(weight, error, said):
    """Number, length, sign; and that something is left behind the delays."""
    with pytest.raises(error, match=said):
        kc.EDMDc(kc.Identity(), delays=1, manifold=False).fit(oscillator(), sample_weight=weight)


@pytest.mark.parametrize("factor", [0.0, -0.5, 1.5, np.nan, None])
def test_forgetting_is_a_factor(factor):
    """Said before anything is taken in, also on the first call."""
    fitted = kc.EDMDc(kc.Identity()).fit(oscillator())
    for model in (kc.EDMDc(kc.Identity()), fitted):
        with pytest.raises(DataError, match="forgetting is"):
            model.partial_fit(oscillator(), forgetting=factor)
    assert fitted._learnt_.n == 300


@pytest.mark.parametrize(
    ("model", "forgetting"),
    [
        (kc.EDMDc(kc.Polynomial(6), cyclic=()), 1.0),
        (kc.EDMDc(kc.Polynomial(6), cyclic=()), 0.999),
        (kc.EDMDc(kc.Polynomial(6), cyclic=(), solver="qr"), 0.999),
        (kc.EDMDc(kc.Polynomial(6), cyclic=(), horizon=3), 1.0),
    ],
    ids=["gram", "forgetting", "qr", "horizon"],
)
def test_a_refusal_changes_nothing(model, forgetting):
    """A value in the last of many blocks whose powers overflow: the model goes on as if it had never been asked."""
    data, more = oscillator(6, 40), oscillator(2, 40, seed=1)
    late = oscillator(60, 50, seed=2)  # 3000 transitions: the first block of them is taken in before the last is seen
    wild = kc.Rollouts([*late.X[:-1], np.r_[late.X[-1][:-1], [[1e60, 0.0]]]], late.U, DT, late.x_names, late.u_names)
    asked, twin = kc.fit(data, model), kc.fit(data, model)
    for each in (asked, twin):
        each.partial_fit(more, forgetting=forgetting)
    before = dict(vars(asked))
    with pytest.raises(DataError, match="look at the lift|too large"):
        asked.partial_fit(wild, forgetting=forgetting)
    assert vars(asked).keys() == before.keys() and all(vars(asked)[name] is before[name] for name in before)
    for each in (asked, twin):
        each.partial_fit(more, forgetting=forgetting)
    assert asked._learnt_.n == twin._learnt_.n and asked.A_.tobytes() == twin.A_.tobytes()
    assert np.array_equal(asked.envelope_.high, twin.envelope_.high)
