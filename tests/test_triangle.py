"""The accumulators of a regression against numpy.linalg.lstsq, also where the normal equations lose the digits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import koopctl as kc
from koopctl.errors import DataError, ShapeError
from koopctl.regression.gram import Gram
from koopctl.regression.triangle import Triangle
from koopctl.regression.whitened import Whitened

few = settings(max_examples=20, deadline=None)
KINDS = [Gram, Triangle, Whitened]


def conditioned(condition: float, n: int = 200, p: int = 12, m: int = 3, seed: int = 0) -> tuple:
    """Return regressors (n, p) of a given condition number, coefficients (m, p) and targets without noise."""
    rng = np.random.default_rng(seed)
    left, right = np.linalg.qr(rng.normal(size=(n, p)))[0], np.linalg.qr(rng.normal(size=(p, p)))[0]
    Phi = np.sqrt(n) * (left * np.logspace(0, -np.log10(condition), p)) @ right.T
    theta = rng.normal(size=(m, p))
    return Phi, theta, Phi @ theta.T


def accumulated(kind, Phi: np.ndarray, Y: np.ndarray, weight: np.ndarray | None = None, cuts=(7, 7, 50)):
    """Return an accumulator that saw the samples in pieces."""
    p, m = Phi.shape[1], Y.shape[1]
    whole = Whitened.after(accumulated(Gram, Phi, Y, weight)) if kind is Whitened else kind(p, m)
    for part in np.split(np.arange(len(Phi)), [c for c in cuts if c < len(Phi)]):
        whole.add(Phi[part], Y[part], None if weight is None else weight[part])
    return whole


def augmented(Phi: np.ndarray, Y: np.ndarray, ridge: float, free: int = 1, weight: np.ndarray | None = None) -> tuple:
    """Return the rows and targets whose ordinary least squares is the penalised one."""
    weight = np.ones(len(Phi)) if weight is None else weight
    root, penalty = np.sqrt(weight / weight.sum())[:, None], np.sqrt(ridge) * np.eye(Phi.shape[1])
    penalty[Phi.shape[1] - free :] = 0.0
    return np.concatenate([Phi * root, penalty]), np.concatenate([Y * root, np.zeros((len(penalty), Y.shape[1]))])


def lstsq(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the coefficients (m, p) of ordinary least squares."""
    return np.linalg.lstsq(rows, targets, rcond=None)[0].T


@few
@given(
    st.sampled_from(KINDS),
    st.integers(20, 90),
    st.integers(2, 9),
    st.sampled_from([0.0, 1e-9, 1e-3, 5.0]),
    st.booleans(),
)
def test_every_accumulator_is_the_augmented_least_squares(kind, n, p, ridge, weighted):
    """In pieces, with weights and any ridge: lstsq of the rows with the penalty's rows below; and the trace formula."""
    rng = np.random.default_rng(n * p)
    Phi, Y = rng.normal(size=(n, p)), rng.normal(size=(n, 2)) + 1
    Phi[:, -1] = 1.0
    weight = rng.uniform(0.1, 3, size=n) if weighted else None
    found = accumulated(kind, Phi, Y, weight).solve(ridge)
    rows, targets = augmented(Phi, Y, ridge, weight=weight)
    assert found.theta == pytest.approx(lstsq(rows, targets), abs=1e-8)
    hat = np.linalg.solve(rows.T @ rows, rows[:n].T @ rows[:n])
    assert found.effective == pytest.approx(np.trace(hat), abs=1e-6)
    assert found.condition == pytest.approx(np.linalg.cond(rows), rel=p)


@pytest.mark.parametrize("seed", range(3))
def test_where_the_normal_equations_fail_the_others_do_not(seed):
    """Condition 1e12: QR keeps the digits lstsq keeps, the second pass those that predictions need."""
    Phi, theta, Y = conditioned(1e12, seed=seed)
    found = {kind: accumulated(kind, Phi, Y).solve(0.0, free=0).theta for kind in KINDS}
    own = np.abs(lstsq(Phi, Y) - theta).max()
    assert np.abs(found[Triangle] - theta).max() < 10 * own + 1e-5 < 1e-3 and np.abs(found[Gram] - theta).max() > 0.1
    errors = {kind: np.abs(Phi @ found[kind].T - Y).max() for kind in KINDS}
    assert errors[Triangle] < 1e-13 and errors[Whitened] < 1e-10 and errors[Gram] > 1e-8


@pytest.mark.parametrize(
    ("kind", "conditions"), [(Gram, (1.0, 1e3, 1e7)), (Triangle, (1.0, 1e6, 1e12)), (Whitened, (1e3, 1e9, 1e13))]
)
def test_the_condition_number_is_told(kind, conditions):
    """Against the singular values, within a factor of the 1-norm's looseness."""
    for condition in conditions:
        Phi, _, Y = conditioned(condition)
        assert 0.3 < accumulated(kind, Phi, Y).solve(0.0, free=0).condition / np.linalg.cond(Phi) < 12


def test_the_normal_equations_know_when_they_are_lost():
    """Beyond 1 / eps of their condition they say so, whether the factorisation failed or not."""
    for condition, lossy in ((1e5, False), (1e7, False), (1e9, True), (1e14, True)):
        Phi, _, Y = conditioned(condition)
        assert accumulated(Gram, Phi, Y).solve(0.0, free=0).is_lossy is lossy
        assert not accumulated(Triangle, Phi, Y).solve(0.0, free=0).is_lossy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["twin", "sum", "few", "halves"])
@pytest.mark.parametrize("seed", range(3))
def test_without_a_unique_solution_the_shortest_is_taken(kind, case, seed):
    """Dependent columns, or fewer samples than regressors, and no ridge: lstsq's minimum norm, not 1e15."""
    rng = np.random.default_rng(seed)
    Phi = rng.normal(size=(10 if case == "few" else 300, 24))
    if case == "twin":
        Phi[:, 1] = Phi[:, 0]
    elif case == "sum":
        Phi[:, 5] = Phi[:, :5] @ rng.normal(size=5)
    elif case == "halves":
        Phi[:, 12:] = Phi[:, :12]
    Y = rng.normal(size=(len(Phi), 2))
    found, truth = accumulated(kind, Phi, Y).solve(0.0, free=0), lstsq(Phi, Y)
    assert Phi @ found.theta.T == pytest.approx(Phi @ truth.T, abs=1e-6)
    assert np.linalg.norm(found.theta) == pytest.approx(np.linalg.norm(truth), rel=0.05)
    if found.path != "cholesky":  # with luck the factorisation passes, and the solution counts as lossy
        assert found.path in ("eigen", "svd") and found.effective == np.linalg.matrix_rank(Phi)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_a_number_of_copies(kind):
    """Two is twice, zero is not at all, and forgetting is a weight on all that came before."""
    Phi, _, Y = conditioned(10.0)
    Y = Y + np.random.default_rng(1).normal(size=Y.shape)
    counts = np.random.default_rng(2).integers(0, 4, size=len(Phi))
    copies = accumulated(kind, np.repeat(Phi, counts, axis=0), np.repeat(Y, counts, axis=0))
    weighted = accumulated(kind, Phi, Y, counts.astype(float))
    assert weighted.n == copies.n == counts.sum()
    assert weighted.solve(0.1).theta == pytest.approx(copies.solve(0.1).theta, abs=1e-10)
    fading = accumulated(kind, Phi, Y, np.where(np.arange(len(Phi)) < 50, 0.25, 1.0))
    later = accumulated(kind, Phi[:50], Y[:50]).forget(0.25)
    if kind is not Whitened:  # whose two passes are over the same samples
        later.add(Phi[50:], Y[50:])
        assert later.n == fading.n and later.solve(0.1).theta == pytest.approx(fading.solve(0.1).theta, abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_merge_to_the_whole(kind):
    """Coefficients, residuals and moments, in any grouping."""
    Phi, _, Y = conditioned(10.0)
    Y = Y + np.random.default_rng(1).normal(size=Y.shape)
    whole, (a, b, c) = accumulated(kind, Phi, Y), (slice(0, 31), slice(31, 90), slice(90, None))
    if kind is Whitened:
        first, second, third = (Whitened(whole.L, Gram(12, 3)).add(Phi[part], Y[part]) for part in (a, b, c))
    else:
        first, second, third = (accumulated(kind, Phi[part], Y[part]) for part in (a, b, c))
    merged = third.merge(first.merge(second))
    assert merged.n == whole.n
    assert merged.solve(1e-3).theta == pytest.approx(whole.solve(1e-3).theta, abs=1e-10)
    for mine, theirs in zip(merged.moments(), (Phi.T @ Phi, Phi.T @ Y, Y.T @ Y), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-9)
    assert merged.information(0.5)[-1, -1] == pytest.approx(Phi[:, -1] @ Phi[:, -1] / 200)


@pytest.mark.parametrize("kind", KINDS)
def test_the_residual_is_the_mean_outer_product(kind):
    """Of all targets or of the first, and never negative, not even for an exact fit."""
    Phi, theta, Y = conditioned(10.0)
    noisy = Y + np.random.default_rng(1).normal(size=Y.shape)
    found = accumulated(kind, Phi, noisy)
    solution = found.solve(0.0).theta
    E = noisy - Phi @ solution.T
    assert found.residual(solution) == pytest.approx(E.T @ E / 200)
    assert found.residual(solution[:2]) == pytest.approx((E.T @ E / 200)[:2, :2])
    exact = accumulated(kind, Phi, 1e6 * Y).residual(1e6 * theta)
    assert np.linalg.eigvalsh(exact).min() >= -1e-12 * np.trace(exact) and np.abs(exact).max() < 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_accumulator_goes_on(kind):
    """Half, saved, restored, the other half: what the unbroken one finds."""
    Phi, _, Y = conditioned(1e3)
    half, whole = (accumulated(kind, Phi[:80], Y[:80]) for _ in range(2))
    restored = kind.restore({name: np.array(array) for name, array in half.arrays().items()})
    for each in (whole, restored):
        each.add(Phi[80:], Y[80:])
    assert restored.n == 200 and restored.solve(1e-6).theta.tobytes() == whole.solve(1e-6).theta.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("value", "said"),
    [(np.nan, "features hold NaN or inf"), (np.inf, "NaN or inf"), (1e200, "too large to be squared")],
)
def test_what_is_no_number_is_refused_and_not_added(kind, value, said):
    """One bad feature would spoil all that was learnt before."""
    Phi, _, Y = conditioned(10.0)
    good = accumulated(kind, Phi, Y)
    before = good.solve(1e-3).theta
    bad = Phi[:5].copy()
    bad[3, 2] = value
    with np.errstate(all="ignore"), pytest.raises(DataError, match=said):
        good.add(bad, Y[:5])
    with pytest.raises(DataError, match="predicted hold NaN"):
        good.add(Phi[:5], Y[:5] * np.nan)
    assert good.n == 200 and good.solve(1e-3).theta.tobytes() == before.tobytes()


@pytest.mark.parametrize("kind", [Gram, Triangle])
def test_nothing_is_no_solution(kind):
    """Neither before the first sample nor where all weigh nothing."""
    with pytest.raises(DataError, match="nothing to solve for"):
        kind(3, 1).solve(0.1)
    with pytest.raises(DataError, match="nothing to solve for"):
        kind(3, 1).add(np.ones((2, 3)), np.ones((2, 1)), np.zeros(2)).solve(0.1)


def test_different_problems_do_not_merge():
    """Other sizes, other kinds, other first passes."""
    with pytest.raises(ShapeError, match="cannot merge"):
        Gram(3, 2).merge(Gram(1, 1))
    with pytest.raises(ShapeError, match="Triangle of"):
        Gram(3, 2).merge(Triangle(3, 2))
    Phi, _, Y = conditioned(10.0)
    with pytest.raises(ShapeError, match="first"):
        accumulated(Whitened, Phi, Y).merge(accumulated(Whitened, Phi[:90], Y[:90]))


def nearly_dependent() -> kc.Rollouts:
    """Return motion of a linear plant in which two states differ by 1e-9 of their size."""
    rng = np.random.default_rng(0)
    A, B = np.array([[0.9, 0.1, 0.0], [-0.1, 0.8, 0.0], [0.05, 0.0, 0.7]]), np.array([[0.1], [0.2], [0.0]])
    X, U = [], []
    for _ in range(6):
        x, u = rng.normal(size=(41, 3)), rng.normal(size=(40, 1))
        for k in range(40):
            x[k + 1] = A @ x[k] + B @ u[k]
        X.append(np.column_stack([x[:, 0], x[:, 0] + 1e-9 * x[:, 2], x[:, 1]]))
        U.append(u)
    return kc.Rollouts(X, U, 0.1)


def test_auto_goes_through_the_data_again_and_says_so():
    """What one pass of the normal equations loses, a model finds by itself; the report names the path."""
    data = nearly_dependent()
    models = {
        s: kc.EDMDc(kc.Identity(), ridge=0.0, manifold=False, cyclic=(), solver=s) for s in ("auto", "qr", "cholesky")
    }
    for model in models.values():
        model.fit(data)
    assert models["auto"].solution_.path == "whitened" and models["qr"].solution_.path == "qr"
    assert models["cholesky"].solution_.path in ("cholesky", "eigen")
    assert "solved by whitened" in str(models["auto"].report_)
    X, Y = (np.concatenate([part[cut] for part in data.X]) for cut in (slice(None, -1), slice(1, None)))
    rest = [np.abs(model.predict(X, np.concatenate(data.U)[:, None])[:, 1] - Y) for model in models.values()]
    hidden = [np.abs(e[:, 1] - e[:, 0]).max() / 1e-9 for e in rest]  # the third state, as a share of its size
    assert hidden[0] < 1e-4 and hidden[1] < 1e-4
    assert kc.EDMDc(kc.Identity()).fit(data).solution_.path == "cholesky"  # with the usual ridge nothing is lost
