"""The fit report: every number against its own computation, every warning with its cause, one screen, one picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from recorded import DT, exact_linear, linear, oscillator, pendulum, without_inputs

import koopctl as kc
from koopctl.errors import NotFittedError
from koopctl.models.fit_report import FitReport


def regressors(model: kc.SampledRNN, data: kc.Rollouts) -> np.ndarray:
    """Return the regressors of a network without delays, put together from its public parts."""
    X, U = np.concatenate([x[:-1] for x in data.X]), np.concatenate(data.U)
    S = (np.column_stack([X, U]) - model.mean_) / model.scale_
    return np.column_stack([model.features_.transform(S), S, np.ones(len(S))])


def test_every_number_is_what_it_says():
    """Errors of all starts, effective regressors, condition, independence, ranges, by other means."""
    data, ridge = oscillator(4, 60), 1e-6
    model = kc.SampledRNN(30, ridge=ridge).fit(data)
    report, Phi = model.report_, regressors(model, data)
    n, p = Phi.shape
    assert (
        (report.n_transitions, report.n_episodes, report.n_regressors, report.dt) == (240, 4, p, DT) == (n, 4, 35, DT)
    )
    penalty = np.sqrt(ridge) * np.eye(p)
    penalty[-1] = 0.0
    rows = np.concatenate([Phi / np.sqrt(n), penalty])
    assert report.effective == pytest.approx(np.trace(np.linalg.solve(rows.T @ rows, Phi.T @ Phi / n)), rel=1e-6)
    assert 0.2 < report.condition / np.linalg.cond(rows) < 10 and report.path == "cholesky"
    X, errors = np.concatenate(data.X), {True: [], False: []}
    for x, u in data:
        for k in range(11):  # 11 starts of 50 steps an episode
            for relift, found in errors.items():
                found.append(model.predict(x[k], u[k : k + 50], relift=relift)[1:] - x[k + 1 : k + 51])
    assert report.n_starts == 44
    for values, relift in ((report.relifted, True), (report.linear, False)):
        rms = np.sqrt(np.mean(np.square(errors[relift]), axis=0)) / X.std(axis=0)
        assert values == pytest.approx(np.sqrt(np.mean(rms**2, axis=1)), rel=1e-9)
    for j, name in enumerate(("pos", "vel")):
        change = np.mean(np.square(np.concatenate([np.diff(x[:, j]) for x in data.X])))
        rho = 1.0 - change / (2 * X[:, j].var())
        assert report.independent[name] == pytest.approx(max(n * (1 - rho) / (1 + rho), 4))
        assert report.envelope[name] == pytest.approx((X[:, j].min(), X[:, j].max()))
    assert report.envelope["push"] == (np.concatenate(data.U)[:, 0].min(), np.concatenate(data.U)[:, 0].max())
    assert report.spectral_radius is None and report.notes == model.notes_


def test_the_independent_samples_are_those_of_a_known_process():
    """White noise has as many as samples, a first-order process with rho = 0.9 about n / 19."""
    rng = np.random.default_rng(0)
    x, noise = np.zeros((4001, 2)), rng.normal(size=(4000, 2))
    for k in range(4000):
        x[k + 1] = [0.0, 0.9] * x[k] + noise[k]
    report = kc.EDMDc(kc.Identity()).fit(kc.Rollouts([x], [np.zeros((4000, 0))], 0.1, ["white", "red"])).report_
    assert report.independent["white"] == pytest.approx(4000, rel=0.1)
    assert report.independent["red"] == pytest.approx(4000 / 19, rel=0.2)


def test_the_spectral_radius_is_that_of_what_is_read():
    """The eigenvalues of the exact plant; an angle's sum is no instability."""
    model = kc.EDMDc(kc.Identity(), ridge=1e-13, cyclic=()).fit(linear(8))
    assert model.report_.spectral_radius == pytest.approx(np.abs(np.linalg.eigvals(exact_linear()[0])).max(), abs=1e-8)
    turning = kc.EDMDc(kc.Identity()).fit(pendulum(8))
    inner = [i for i in range(turning.nz) if turning.A_[:, i].any() and i != turning.state_names.index("theta")]
    assert turning.report_.spectral_radius == pytest.approx(
        np.abs(np.linalg.eigvals(turning.A_[np.ix_(inner, inner)])).max()
    )


# ------------------------------------------------------------------ warnings
def said(model: kc.SampledRNN | kc.EDMDc) -> str:
    """Return all warnings as one text."""
    return " | ".join(model.report_.warnings)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (kc.SampledRNN(40), oscillator(40, 60)),
        (kc.SampledRNN(60), pendulum(40, 60)),
        (kc.EDMDc(kc.Identity()), linear(8, 60)),
        (kc.EDMDc(kc.Identity(), delays=1, solver="qr"), linear(8, 60)),
        (kc.EDMDc(kc.Polynomial(3), inputs="bilinear"), oscillator(40, 60)),
    ],
    ids=["network", "angle", "linear", "delays", "bilinear"],
)
def test_a_healthy_fit_has_no_warnings(model, data):
    """Enough data, a sound regression, small errors: nothing to beware of."""
    assert kc.fit(data, model).report_.warnings == ()


def test_too_little_data_is_told():
    """Fewer than five transitions for each effective regressor."""
    assert "transitions for each effective regressor: record more" in said(kc.SampledRNN(100).fit(oscillator(2, 40)))


@pytest.mark.parametrize("solver", ["auto", "cholesky", "qr"])
def test_dependent_regressors_are_told(solver):
    """The same input twice and no ridge: many solutions predict alike, whatever solved for them."""
    data = oscillator(6, 60)
    twice = kc.Rollouts(data.X, [u[:, [0, 0, 1]] for u in data.U], DT)
    model = kc.EDMDc(kc.Identity(), ridge=0.0, solver=solver).fit(twice)
    assert "linearly dependent" in said(model) or "lost the digits" in said(model)
    assert np.abs(model.B_).max() < 1.0
    assert "linearly dependent" not in said(kc.EDMDc(kc.Identity(), solver=solver).fit(twice))


def test_lost_digits_are_told():
    """A stream cannot be gone through twice: where one pass is not enough, the report says what would be."""
    report = kc.SampledRNN(40).fit(oscillator(40, 60)).report_
    poor = replace(report, path="cholesky", condition=2e8, warnings=())
    assert "solver='qr'" in poor._judge()[0] and not replace(poor, condition=1e7)._judge()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)) @ [[1.0, 1.0], [0.0, 3e-8]]
    data = kc.Rollouts([x], [np.zeros((299, 0))], 0.1)
    streamed = kc.fit(iter([data]), kc.EDMDc(kc.Identity(), ridge=0.0, manifold=False, cyclic=()))
    assert streamed.solution_.is_lossy and ("solver='qr'" in said(streamed) or "linearly dependent" in said(streamed))


def test_a_growing_recursion_is_told():
    """A spectral radius above 1, and a linear roll-out worse than the re-lifted one: of linear couplings only."""
    model = kc.EDMDc(kc.SampledFeatures(100)).fit(oscillator(8, 60))
    assert model.report_.spectral_radius > 1.001
    assert "set spectral_radius=1.0" in said(model) and "prefer RelinearizedMPC" in said(model)
    bilinear = kc.EDMDc(kc.SampledFeatures(100), inputs="bilinear").fit(oscillator(8, 60))
    assert "spectral_radius" not in said(bilinear) and "LiftedMPC" not in said(bilinear)
    tamed = kc.EDMDc(kc.SampledFeatures(60), spectral_radius=1.0).fit(oscillator(20, 60))
    assert "set spectral_radius" not in said(tamed)


def test_a_model_no_better_than_the_mean_is_told():
    """Motion that nothing measured explains."""
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=(301, 1)), axis=0)
    model = kc.EDMDc(kc.Identity()).fit(kc.Rollouts([x], [np.zeros((300, 0))], 0.1))
    assert "no better than the mean" in said(model)


# ------------------------------------------------------------------ one screen
def wide(columns: int) -> kc.Rollouts:
    """Return motion of very many states with long names, some of them sums of others, and as many inputs."""
    rng = np.random.default_rng(0)
    free = [np.cumsum(rng.normal(size=(61, columns)), axis=0) for _ in range(4)]
    names = [f"temperature_of_the_coolant_in_pipe_{i}_behind_the_second_valve" for i in range(2 * columns)]
    X = [np.column_stack([x, x[:, ::-1] + x]) for x in free]
    U = [rng.normal(size=(60, columns))[:, [0] * columns] for _ in free]
    return kc.Rollouts(X, U, DT, names, [f"opening_of_valve_{i}" for i in range(columns)])


@pytest.mark.parametrize(
    "data",
    [wide(24), wide(2), oscillator(1, 2), pendulum(), without_inputs(oscillator())],
    ids=["wide", "long names", "two transitions", "angle", "autonomous"],
)
@pytest.mark.parametrize(
    "model",
    [kc.EDMDc(kc.Identity(), ridge=0.0), kc.EDMDc(kc.Polynomial(2)), kc.SampledRNN(20)],
    ids=["identity", "polynomial", "network"],
)
def test_it_fits_one_screen(model, data):
    """At most 40 lines of 100 characters, whatever the names and findings; nothing is lost without a word."""
    model = kc.fit(data, model)
    lines = str(model.report_).splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    heads = {line.split()[0] for line in lines if line[0] != " "}
    assert {"data", "regression", "error", "envelope"} <= heads
    assert ("note" in heads) == bool(model.notes_) and ("warning" in heads) == bool(model.report_.warnings)
    if data.nx > 40:
        assert "more" in str(model.report_) and "model.notes_" in str(model.report_)


def test_the_last_step_is_shown():
    """A horizon between the usual ones has its own column; an error beyond all numbers is inf."""
    report = kc.EDMDc(kc.Identity()).fit(linear(4, 33)).report_
    assert "33 steps" in str(report) and "50 steps" not in str(report)
    assert "inf" in str(replace(report, linear=(*report.linear[:-1], np.inf)))


def test_it_survives_a_file(tmp_path):
    """The same text, the same numbers, the same picture; coefficients alone have none."""
    for model in (kc.SampledRNN(20).fit(oscillator(2, 40)), kc.EDMDc(kc.Polynomial(2), ridge=0.0).fit(wide(3))):
        loaded = kc.load(model.save(tmp_path / "model"))
        assert loaded.report_ == model.report_ and str(loaded.report_) == str(model.report_)
    assert FitReport.from_dict(model.report_.to_dict()) == model.report_
    header, arrays = model.pack()
    with pytest.raises(NotFittedError, match="load a file with it"):
        _ = kc.EDMDc().unpack(header, arrays).report_
    with pytest.raises(NotFittedError, match="not fitted"):
        _ = kc.SampledRNN().report_


def test_more_data_makes_another_report():
    """It is made when asked for, and anew after the model has learnt more."""
    model = kc.EDMDc(kc.Identity()).fit(linear(3))
    first = model.report_
    assert model.report_ is first and model.partial_fit(linear(2, seed=1)).report_.n_transitions == 200


# ------------------------------------------------------------------ the picture
@pytest.mark.parametrize(
    ("model", "data"),
    [
        (kc.SampledRNN(40), pendulum(6, 60)),
        (kc.EDMDc(kc.SampledFeatures(60)), oscillator(4, 60)),
        (kc.EDMDc(kc.Polynomial(2)), wide(24)),
        (kc.EDMDc(kc.Identity()), oscillator(1, 1)),
    ],
    ids=["network", "edmd", "wide", "one transition"],
)
def test_the_picture_shows_the_report(model, data, tmp_path):
    """Both curves by time, a row for each range, every text inside the picture; no pyplot state is touched."""
    model = kc.fit(data, model)
    report, figure = model.report_, model.plot()
    errors, cover = figure.axes
    curves = {line.get_label(): line for line in errors.get_lines()}
    shown = np.array(curves["re-lifted"].get_ydata())
    assert curves["re-lifted"].get_xdata() == pytest.approx(report.dt * np.arange(1, len(report.relifted) + 1))
    true = np.array(report.relifted)
    assert shown[true > 1e-9] == pytest.approx(np.where(true > 30.0, np.nan, true)[true > 1e-9], nan_ok=True)
    rows = [text.get_text() for text in cover.get_yticklabels()]
    assert len(rows) == min(len(report.envelope), 14)
    figure.savefig(tmp_path / "report.png")
    canvas = FigureCanvasAgg(figure).get_renderer()
    for text in [*figure.texts, *errors.texts, *cover.texts, *cover.get_yticklabels(), errors.yaxis.label]:
        if text.get_text():
            box = text.get_window_extent(canvas)
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_a_picture_of_nothing_finite_can_be_drawn(tmp_path):
    """Errors of inf, zero and NaN, and names that look like mathematics."""
    report = kc.EDMDc(kc.Identity()).fit(linear(3)).report_
    H = len(report.relifted)
    names = {"$x_1$": (0.0, 0.0), "_y": (-np.inf, np.inf), r"\frac": (1.0, 2.0)}
    odd = replace(report, relifted=(0.0,) * H, linear=(np.inf,) * (H - 1) + (np.nan,), envelope=names)
    from koopctl.figures.fit import draw_fit

    draw_fit(vars(odd)).savefig(tmp_path / "odd.png")
