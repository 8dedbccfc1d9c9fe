"""Compiled kernels against numpy: same numbers, same errors, nothing loaded that nobody asked for."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from recorded import oscillator, pendulum, without_inputs

import koopctl as kc
from koopctl.controllers.riccati import condense
from koopctl.controllers.stabilised import stabilised
from koopctl.errors import KoopctlError
from koopctl.kernels import kernels
from koopctl.kernels.compiling import compiled

needs_numba = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="numba, of the extra `fast`, is not installed"
)
CLOSE = 1e-12  # relative to the largest number of an array
PARTS = ("free_u", "T", "free_x", "S", "gains")
PLAIN = oscillator()  # two states, two inputs, no angle
NETWORKS = {
    "tanh": kc.SampledRNN(30).fit(PLAIN),
    "relu": kc.SampledRNN(30, activation="relu").fit(PLAIN),
    "delays": kc.SampledRNN(30, delays=2).fit(PLAIN),
    "angle": kc.SampledRNN(25).fit(pendulum()),
    "angle-relu": kc.SampledRNN(25, activation="relu").fit(pendulum()),
    "angle-delays": kc.SampledRNN(25, delays=1).fit(pendulum()),
    "autonomous": kc.SampledRNN(25, delays=1).fit(without_inputs(pendulum())),
}


@pytest.fixture
def by_numpy(monkeypatch):
    """Return a caller that switches the kernels off for one call."""

    def call(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setenv("KOOPCTL_KERNELS", "numpy")
            kernels.cache_clear()
            assert kernels() is None
            try:
                return function(*arguments)
            finally:
                kernels.cache_clear()

    return call


def horizon(seed: int, N: int, nx: int, nu: int, staged: bool = False) -> list[np.ndarray]:
    """Return a well-conditioned problem A, B, d, H, h, P, p, dx0, its dynamics a rotation that shrinks."""
    rng = np.random.default_rng(seed)
    A = np.stack([0.95 * np.linalg.qr(rng.normal(size=(nx, nx)))[0] for _ in range(N)])
    M = rng.normal(size=(N, nx + nu, nx + nu)) / np.sqrt(nx + nu)
    H = M @ M.swapaxes(1, 2) + np.eye(nx + nu)
    V = rng.normal(size=(nx, nx))
    sides = [rng.normal(size=(N, nx + nu)), V @ V.T, rng.normal(size=nx), rng.normal(size=nx)]
    return [A, rng.normal(size=(N, nx, nu)), rng.normal(size=(N, nx)), H if staged else H[0], *sides]


def feedback(seed: int, nx: int, nu: int) -> np.ndarray:
    """Return some small gain (nu, nx)."""
    return 0.05 * np.random.default_rng(seed).normal(size=(nu, nx))


def assert_same(one, other) -> None:
    """Compare two arrays by the larger one's size, NaN by NaN."""
    one, other = np.asarray(one), np.asarray(other)
    assert one.shape == other.shape and np.array_equal(np.isnan(one), np.isnan(other))
    assert np.nanmax(np.abs(one - other), initial=0.0) <= CLOSE * (1.0 + np.nanmax(np.abs(other), initial=0.0))


SIZES = [(1, 1, 1), (2, 3, 1), (6, 3, 1), (20, 8, 1), (1, 2, 2), (9, 4, 2), (7, 5, 3), (12, 9, 2), (4, 1, 3)]


# ---------------------------------------------------------------------------------------------- horizons
@needs_numba
@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize(("N", "nx", "nu"), SIZES)
def test_the_riccati_pass_gives_numpys_plan(N, nx, nu, staged, by_numpy):
    """One to three inputs, one weight or one a stage, from a first state that is not zero."""
    for seed in range(5):
        problem = horizon(seed, N, nx, nu, staged)
        plan, expected = condense(*problem), by_numpy(condense, *problem)
        for part in PARTS:
            assert_same(getattr(plan, part), getattr(expected, part))


@needs_numba
@pytest.mark.parametrize("staged", [False, True])
@pytest.mark.parametrize(("N", "nx", "nu"), SIZES)
def test_the_constant_gain_gives_numpys_plan(N, nx, nu, staged, by_numpy):
    """Compiled it is another algorithm, but the corrections of the inputs do not depend on the feedback."""
    for seed in range(5):
        problem = (*horizon(seed, N, nx, nu, staged)[:-1], feedback(seed, nx, nu))
        plan, expected = stabilised(*problem), by_numpy(stabilised, *problem)
        for part in PARTS:
            assert_same(getattr(plan, part), getattr(expected, part))


@pytest.mark.parametrize(("N", "nx", "nu"), SIZES)
def test_both_ways_to_condense_lead_to_one_plan(N, nx, nu, by_numpy):
    """In numpy, where they share nothing but the roll-out: T and S too, as each input has its own and earlier w's."""
    problem = horizon(1, N, nx, nu)
    problem[-1] *= 0.0
    one = by_numpy(condense, *problem)
    for gain in (np.zeros((nu, nx)), feedback(2, nx, nu)):
        other = by_numpy(stabilised, *problem[:-1], gain)
        for part in PARTS[:-1]:
            assert_same(getattr(one, part), getattr(other, part))
        assert np.array_equal(other.gains, np.repeat(-gain[None], N, axis=0))
    assert np.abs(np.triu(one.T.reshape(N * nu, N * nu), 1)).max() < 1e-14


@needs_numba
def test_held_inputs_are_numpys_to_the_last_bit(by_numpy):
    """With blocked moves there is no kernel."""
    problem = (*horizon(0, 12, 4, 2)[:-1], np.zeros((2, 4)), np.array([0, 1, 5]))
    plan, expected = stabilised(*problem), by_numpy(stabilised, *problem)
    assert all(np.array_equal(getattr(plan, part), getattr(expected, part)) for part in PARTS)
    assert plan.T.shape == (12, 2, 6) and plan.T[4] == pytest.approx(plan.T[1])


@pytest.mark.parametrize("choice", ["numpy", pytest.param("compiled", marks=needs_numba)])
@pytest.mark.parametrize("nu", [1, 2])
def test_what_has_no_minimum_is_refused(nu, choice, by_numpy):
    """An input without or with a negative price, NaN anywhere: LinAlgError, which the law's ladder knows."""
    *problem, _ = good = horizon(0, 5, 3, nu)
    run = by_numpy if choice == "numpy" else lambda function, *arguments: function(*arguments)
    for bad in (0.0, -5.0):
        H = good[3].copy()
        H[-1] = H[:, -1] = 0.0
        H[-1, -1] = bad
        for law, last in ((condense, good[-1]), (stabilised, feedback(0, 3, nu))):
            with pytest.raises(np.linalg.LinAlgError):
                run(law, problem[0], 0 * problem[1], problem[2], H, *problem[4:], last)
    for i in range(len(problem)):
        broken = [part.copy() for part in problem]
        broken[i].flat[-1] = np.nan
        for law, last in ((condense, good[-1]), (stabilised, feedback(0, 3, nu))):
            with pytest.raises(np.linalg.LinAlgError):
                run(law, *broken, last)


@needs_numba
def test_any_memory_layout_will_do():
    """Strided, Fortran-ordered and read-only arrays; the plan is contiguous, writable and nobody else's."""
    problem = horizon(3, 6, 4, 2)
    plan = condense(*problem)
    odd = []
    for part in problem:
        wide = np.zeros([2 * n for n in part.shape])
        view = wide[tuple(slice(None, None, 2) for _ in part.shape)]
        view[...] = part
        view.flags.writeable = False
        odd.append(view)
    for others in (odd, [np.asfortranarray(part) for part in problem]):
        again = condense(*others)
        for part in PARTS:
            array = getattr(again, part)
            assert np.array_equal(array, getattr(plan, part)) and not np.shares_memory(array, getattr(plan, part))
            assert array.flags.c_contiguous and array.flags.writeable


# ---------------------------------------------------------------------------------------------- networks
@needs_numba
@pytest.mark.parametrize("count", [1, 2, 20])
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_network_is_numpys(kind, count, by_numpy):
    """Steps, Jacobians and roll-outs: tanh and ReLU, angles, delays, no inputs at all."""
    model, rng = NETWORKS[kind], np.random.default_rng(count)
    X, U = rng.normal(size=(count, model.nx)), rng.normal(size=(count, model.nu))
    for one, other in zip(model.expand(X, U), by_numpy(model.expand, X, U), strict=True):
        assert_same(one, other)
    assert_same(model.step(X, U), by_numpy(model.step, X, U))
    assert_same(model.step(X[0], U[0]), by_numpy(model.step, X[0], U[0]))
    path = rng.normal(size=(count, 5, model.nu))
    assert_same(model.predict(X, path), by_numpy(model.predict, X, path))


@needs_numba
@pytest.mark.parametrize("kind", NETWORKS)
def test_far_out_and_beyond_numbers_it_is_numpys(kind, by_numpy):
    """Saturated units, infinite and missing states: finite where numpy's is, NaN where numpy's is."""
    model = NETWORKS[kind]
    X = np.random.default_rng(0).normal(size=(6, model.nx)) * np.array([[1e2], [1e3], [1e4], [1.0], [1.0], [1.0]])
    U = np.zeros((6, model.nu))
    X[3, 0], X[4, -1], X[5, 0] = np.nan, np.nan, np.inf
    with np.errstate(all="ignore"):
        for one, other in zip(model.expand(X, U), by_numpy(model.expand, X, U), strict=True):
            one, other = one.reshape(6, -1), other.reshape(6, -1)
            for a, b in zip(one[:5], other[:5], strict=True):
                assert_same(a, b)
            assert np.array_equal(np.isfinite(one[5]), np.isfinite(other[5]))


@needs_numba
def test_the_logistic_is_exact_to_rounding():
    """From one end of the doubles' exponents to the other."""
    from koopctl.kernels.network import _logistic

    v = np.concatenate([np.linspace(-745.0, 745.0, 100_001), [0.0, -0.0, 1e-300, 1e6, -1e6, np.inf, -np.inf]])
    with np.errstate(over="ignore"):
        expected = 1.0 / (1.0 + np.exp(v))
    row, power = v.copy(), np.empty(len(v))
    _logistic(row, np.zeros(len(v)), np.empty(len(v)), np.empty(len(v)), power, power.view(np.int64))
    assert row == pytest.approx(expected, rel=1e-15, abs=1e-300)


@needs_numba
def test_states_that_do_not_fit_are_refused():
    """Compiled loops check no index: the shapes are looked at first."""
    model, compiled_ones = NETWORKS["tanh"], kernels()
    assert compiled_ones is not None
    for X, U in ((np.zeros((3, 3)), np.zeros((3, 2))), (np.zeros((3, 2)), np.zeros((3, 1))), (np.zeros((3, 2)),) * 2):
        with pytest.raises(ValueError, match="do not fit"):
            model.expand(X, U if U.shape[1] != 2 or X.shape[1] != 2 else U[:2])
    problem = horizon(0, 5, 3, 1)
    for i in range(len(problem)):
        cut = list(problem)
        cut[i] = cut[i][..., :-1]
        with pytest.raises(ValueError, match="do not fit"):
            condense(*cut)


# ---------------------------------------------------------------------------------------------- laws
@needs_numba
def test_a_law_does_the_same_with_and_without(by_numpy):
    """Closed loop of a law that searches, meets its bounds and comes to rest; weights of the rate and by stage."""
    model = NETWORKS["tanh"]
    tasks = [
        kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-0.5, u_max=0.5, horizon=10),
        kc.Task(target=0.0, Q=1.0, R=0.1, dR=1.0, u_min=-0.5, u_max=0.5, y_max={"pos": 1.0}, horizon=8),
        kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-0.5, u_max=0.5, control_horizon=3, horizon=8),
    ]

    def run(task, candidates):
        law = kc.RelinearizedMPC(model, task, candidates=candidates, solver="active_set")
        x, path = np.array([0.9, -0.5]), []
        for _ in range(25):
            u, info = law(x)
            assert info["status"] == "solved"
            path.append(u)
            x = model.step(x, u)
        return np.array(path)

    for task in tasks:
        for candidates in (0, 4):
            assert run(task, candidates) == pytest.approx(by_numpy(run, task, candidates), abs=1e-7)


@needs_numba
def test_a_law_is_designed_with_its_kernels():
    """So that no tick of it compiles or loads anything."""
    kernels.cache_clear()
    kc.RelinearizedMPC(NETWORKS["tanh"], kc.Task(target=0.0, Q=1.0, R=0.1, horizon=5))
    assert kernels.cache_info().currsize == 1


# ---------------------------------------------------------------------------------------------- loading
def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own."""
    env = {name: value for name, value in os.environ.items() if name != "KOOPCTL_KERNELS"} | environment
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)


PLANT = """
import numpy as np, koopctl as kc
rng = np.random.default_rng(0)
X, U = rng.normal(size=(5, 11, 2)), rng.normal(size=(5, 10, 1))
for k in range(10):
    X[:, k + 1] = 0.9 * X[:, k] + 0.1 * U[:, k]
model = kc.SampledRNN(10).fit(kc.Rollouts(list(X), list(U), 0.1))
"""


def test_importing_koopctl_imports_no_numba():
    """Nor do its models and laws, before one is used."""
    done = python(
        "import sys, koopctl as kc\n"
        "kc.SampledRNN, kc.EDMDc, kc.RelinearizedMPC, kc.LiftedMPC, kc.LQR\n"
        "assert not {'numba', 'llvmlite'} & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr


def test_the_environment_switches_them_off():
    """No numba in a process that was told to do without; any other word is refused."""
    law = "law = kc.RelinearizedMPC(model, kc.Task(target=0.0, Q=1.0, R=1.0, horizon=5)); law(np.ones(2))\n"
    done = python(f"{PLANT}{law}import sys; assert 'numba' not in sys.modules", KOOPCTL_KERNELS="numpy")
    assert done.returncode == 0, done.stderr
    done = python(f"{PLANT}model.step(np.ones(2), np.ones(1))", KOOPCTL_KERNELS="off")
    assert done.returncode == 1 and "set it to 'numpy'" in done.stderr


def test_another_word_is_refused(monkeypatch):
    """With the value that was found."""
    monkeypatch.setenv("KOOPCTL_KERNELS", "yes")
    kernels.cache_clear()
    with pytest.raises(KoopctlError, match="KOOPCTL_KERNELS is 'yes'"):
        kernels()
    kernels.cache_clear()


def test_without_numba_everything_works_and_kernels_are_plain_python():
    """The same source, not compiled, gives the same plan: it is right without numba, only slow."""
    done = python(
        "import sys\nsys.modules['numba'] = None\n" + PLANT + "from koopctl.kernels import kernels, network, riccati\n"
        "assert kernels() is None\n"
        "X, U = np.ones((3, 2)), np.ones((3, 1))\n"
        "for a, b in zip(network.expand(X, U, *model._layers, model._outer), model.expand(X, U), strict=True):\n"
        "    assert np.abs(a - b).max() < 1e-12\n"
        "from koopctl.controllers.riccati import condense\n"
        "A, B, H = np.tile(0.9 * np.eye(2), (4, 1, 1)), np.ones((4, 2, 2)) + np.eye(2), np.eye(4)\n"
        "problem = A, B, np.ones((4, 2)), H, np.ones((4, 4)), np.eye(2), np.ones(2), np.ones(2)\n"
        "fine, *plan = riccati.condense(*problem[:3], H[None], *problem[4:])\n"
        "expected = condense(*problem)\n"
        "for a, b in zip(plan, ('free_u', 'T', 'free_x', 'S', 'gains'), strict=True):\n"
        "    assert fine and np.abs(a - getattr(expected, b)).max() < 1e-12, b\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_numba_that_cannot_be_imported_is_said_and_done_without(tmp_path):
    """Numba refuses a numpy newer than it: its own text is passed on."""
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 1.0 or less')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = python(f"{PLANT}print(model.step(np.ones(2), np.ones(1)))", PYTHONPATH=path)
    assert done.returncode == 0 and "Numba needs NumPy 1.0 or less" in done.stderr and "[" in done.stdout


@needs_numba
def test_a_kernel_without_a_folder_for_the_cache_is_compiled_all_the_same():
    """A function that is in no file has none."""
    names: dict[str, object] = {}
    exec("def total(x):\n    return x.sum()", names)
    function = compiled("f1")(names["total"])
    assert function(np.ones(4)) == 4.0 and function.signatures


@needs_numba
def test_a_law_from_another_process_brings_its_kernels(tmp_path):
    """Unpickled, not at its first tick, where half a second would be a hundred periods."""
    path = tmp_path / "law.pickle"
    model = kc.SampledRNN(30).fit(kc.collect("Pendulum-v1", episodes=20, steps=40))
    path.write_bytes(pickle.dumps(kc.LQR(model, kc.Task(target=0.0, Q=1.0, R=1.0))))
    done = python(
        f"import pickle, pathlib; law = pickle.loads(pathlib.Path({str(path)!r}).read_bytes())\n"
        "from koopctl.kernels import kernels\nprint(kernels.cache_info().currsize)"
    )
    assert done.stdout.strip() == "1", done.stderr
