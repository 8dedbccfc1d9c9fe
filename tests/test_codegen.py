"""The C sources: complete, readable, the same every time, and in agreement with the law they came from."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

import koopctl as kc
from koopctl.codegen.agreement import largest_difference, observations
from koopctl.errors import DesignError

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def pendulum_data(episodes: int = 60, names: tuple[str, ...] = ("cos", "sin", "rate", "load")) -> kc.Rollouts:
    """Return motion of a pendulum seen as cos, sin, rate and a load cell that only repeats the rate."""
    rng = np.random.default_rng(0)
    theta, rate = rng.uniform(-np.pi, np.pi, episodes), rng.uniform(-3, 3, episodes)
    seen, inputs = [], []
    for _ in range(30):
        seen.append(np.stack([np.cos(theta), np.sin(theta), rate, 2.0 * rate + 1.0], axis=1))
        u = rng.uniform(-2, 2, episodes)
        inputs.append(u[:, None])
        rate = rate + 0.05 * (8.0 * np.sin(theta) + 3.0 * u)
        theta = theta + 0.05 * rate
    X, U = np.stack(seen, axis=1), np.stack(inputs[:-1], axis=1)
    return kc.Rollouts(list(X), list(U), 0.05, names, ["torque"])


def carts_data() -> kc.Rollouts:
    """Return motion of two carts with a force each."""
    rng = np.random.default_rng(1)
    A = np.array([[1.0, 0.0, 0.1, 0.0], [0.0, 1.0, 0.0, 0.1], [-0.05, 0.05, 0.9, 0.0], [0.05, -0.05, 0.0, 0.95]])
    B = np.array([[0.0, 0.0], [0.0, 0.0], [0.1, 0.0], [0.02, 0.2]])
    X, U = [], []
    for _ in range(10):
        u = rng.uniform(-1, 1, (40, 2))
        x = [rng.standard_normal(4)]
        for k in range(40):
            x.append(A @ x[-1] + B @ u[k])
        X.append(np.array(x))
        U.append(u)
    return kc.Rollouts(X, U, 0.1, ["p1", "p2", "v1", "v2"], ["left", "right"])


def pendulum_law(**changes: object) -> kc.LQR:
    """Return an LQR that balances the pendulum."""
    task = kc.Task(target=0.0, Q={"angle(cos,sin)": 1.0, "rate": 0.1}, R=0.1, u_min=-2.0, u_max=2.0)
    return kc.LQR(kc.fit(pendulum_data(), kc.SampledRNN(n_features=60)), task.replace(**changes))


def carts_law(**changes: object) -> kc.LQR:
    """Return an LQR that brings the carts to a place, with bounds on one input and on the rates."""
    task = kc.Task(target={"p1": 0.5, "p2": 0.5}, Q=1.0, R=0.1, u_min={"left": -0.6}, u_max={"left": 0.4}, du_max=0.7)
    task = task.replace(u_safe={"right": 0.2}).replace(**changes)
    return kc.LQR(kc.fit(carts_data(), kc.EDMDc(kc.Identity())), task)


@needs_compiler
@pytest.mark.parametrize("law", [pendulum_law, carts_law])
def test_compiled_law_agrees_with_python(law, tmp_path):
    """Angles, dropped columns, several inputs, rate bounds: 1000 observations, all within rounding."""
    exported = kc.export(law(), tmp_path / "c", check=True)
    assert exported.n_checked == 1000
    assert exported.difference is not None and exported.difference <= 1e-9
    assert [path.name for path in exported.files] == ["Makefile", "law.c", "law.h", "main.c"]


@pytest.mark.parametrize("law", [pendulum_law, carts_law])
def test_the_check_sees_every_kind_of_answer(law):
    """Free inputs, inputs at either bound, and the safe input all occur often enough to matter."""
    controller = law()
    answers = [controller(y) for y in observations(controller)]
    U = np.array([u for u, _ in answers])
    safe = np.array([info["status"] == "safe" for _, info in answers])
    bounds = controller.wanted
    free = ((U > bounds.u_min + 1e-6) & (U < bounds.u_max - 1e-6)).all(axis=1) & ~safe
    assert safe.mean() > 0.05
    assert free.mean() > 0.1
    assert ((U[:, 0] == bounds.u_min[0]) & ~safe).mean() > 0.05
    assert ((U[:, 0] == bounds.u_max[0]) & ~safe).mean() > 0.05


@needs_compiler
@pytest.mark.parametrize(
    ("make", "old", "new"),
    [
        (carts_law, "u[i] = U_STEADY[i] - sum;", "u[i] = U_STEADY[i] - 1.000001 * sum;"),
        (pendulum_law, "isfinite(y[USED[i]])", "1"),
        (carts_law, "raised > high ? high : raised", "raised"),
        (carts_law, "law->u_last[i] - DU_MAX[i]", "law->u_last[i] - 1.1 * DU_MAX[i]"),
    ],
)
def test_the_check_finds_faults(make, old, new, tmp_path):
    """A slightly wrong gain, a missing guard, bound or rate in the C code does not pass."""
    law = make()
    kc.export(law, tmp_path)
    source = tmp_path / "law.c"
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))
    assert largest_difference(law, tmp_path) > 1e-9


@needs_compiler
def test_a_wrong_wrap_is_found(tmp_path):
    """The same for the angle: the target lies at the hanging position, where it wraps."""
    law = pendulum_law(target={"angle(cos,sin)": 3.0})
    kc.export(law, tmp_path, check=True)
    source = tmp_path / "law.c"
    source.write_text(source.read_text().replace("q[j] = wrap(q[j]);", ";"))
    assert largest_difference(law, tmp_path) > 1e-9


@needs_compiler
def test_example_compiles_without_warnings_and_runs(tmp_path):
    """The Makefile builds the example, which answers observations from stdin: free, NaN, then at the bound."""
    law = pendulum_law()
    kc.export(law, tmp_path)
    flags = "CFLAGS=-std=c99 -O2 -Wall -Wextra -pedantic -Wconversion -Werror"
    built = subprocess.run(["make", "-C", str(tmp_path), flags], capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stdout + built.stderr
    said = subprocess.run(
        [str(tmp_path / "example")],
        input="1 0 0.01 1.02  nan 0 0 1  0 1 0 1",
        capture_output=True,
        text=True,
        timeout=10,
    )
    rows = [line.split() for line in said.stdout.splitlines()]
    assert [row[1] for row in rows] == ["0", "1", "0"]
    x = np.array([0.0, 0.01])
    assert float(rows[0][0]) == pytest.approx(float((law.steady.u - law.K @ (x - law.steady.x))[0]), abs=1e-12)
    assert float(rows[1][0]) == 0.0
    assert float(rows[2][0]) == -2.0


def test_sources_are_the_same_every_time(tmp_path):
    """The same law gives the same bytes, also after a run that moved its target."""
    law = pendulum_law()
    first = [path.read_bytes() for path in kc.export(law, tmp_path / "a").files]
    law(np.array([1.0, 0.0, 0.0, 1.0]), np.array([0.3, 0.0]))
    assert [path.read_bytes() for path in kc.export(law, tmp_path / "b").files] == first
    assert [path.read_bytes() for path in kc.export(law.fresh(), tmp_path / "b").files] == first


def test_header_says_sizes_names_and_sampling_time(tmp_path):
    """Whoever wires the robot finds the order of y and u, and the sampling time, in the header."""
    kc.export(pendulum_law(), tmp_path)
    header = (tmp_path / "law.h").read_text()
    for line in ("#define LAW_NY 4", "#define LAW_NU 1", "y[0]  cos", "y[3]  load", "u[0]  torque", "(angle"):
        assert line in header
    assert float(header.split("#define LAW_DT ")[1].split()[0]) == 0.05


def test_law_uses_neither_heap_nor_files(tmp_path):
    """What a microcontroller lacks is not asked for."""
    kc.export(pendulum_law(), tmp_path)
    source = (tmp_path / "law.c").read_text()
    assert [line for line in source.splitlines() if line.startswith("#include")] == [
        '#include "law.h"',
        "#include <math.h>",
    ]


@needs_compiler
def test_the_law_reads_the_full_observation(tmp_path):
    """A model of some of the sensors still takes what the plant sends, and a NaN elsewhere does not stop it."""
    data = pendulum_data().select(["sin", "cos", "rate"])
    task = kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-2.0, u_max=2.0)
    exported = kc.export(kc.LQR(kc.fit(data, kc.SampledRNN(n_features=60)), task), tmp_path, check=True)
    assert "#define LAW_NY 4" in exported.files[2].read_text()
    assert "USED[N_USED] = {0, 1, 2};" in exported.files[1].read_text()


@needs_compiler
def test_names_cannot_leave_their_comment(tmp_path):
    """Names are the user's; whatever they hold, the code compiles."""
    data = pendulum_data(names=("cos", "sin", "*/ #error", "läuft\n/* "))
    task = kc.Task(target=0.0, Q=1.0, R=0.1)
    kc.export(kc.LQR(kc.fit(data, kc.SampledRNN(n_features=60)), task), tmp_path, check=True)


def test_other_laws_are_refused_with_the_remedy(tmp_path):
    """Every law that C does not cover says so and what to do, and nothing is written."""
    data = pendulum_data()
    task = kc.Task(target=0.0, Q=1.0, R=0.1, u_min=-2.0, u_max=2.0, horizon=5)
    network = kc.fit(data, kc.SampledRNN(n_features=60))
    lifted = kc.fit(data, kc.EDMDc(kc.SampledFeatures(20)))
    delayed = kc.fit(data, kc.SampledRNN(n_features=60, delays=1))
    for law, named in (
        (kc.RelinearizedMPC(network, task), "RelinearizedMPC"),
        (kc.LiftedMPC(lifted, task), "LiftedMPC"),
        (kc.LQR(delayed, task), "1 delays"),
    ):
        with pytest.raises(DesignError, match=f"{named}.*kind='lqr'"):
            kc.export(law, tmp_path / "c")
    with pytest.raises(DesignError, match="made by design"):
        kc.export("law.npz", tmp_path / "c")  # type: ignore[arg-type]
    assert not (tmp_path / "c").exists()


def test_a_lifted_lqr_is_refused(tmp_path):
    """Its gain acts on the lift, which the C code does not compute."""
    law = kc.LQR(kc.fit(carts_data(), kc.EDMDc(kc.Identity())), kc.Task(target=0.0, Q=1.0, R=0.1), lifted=True)
    with pytest.raises(DesignError, match="lifted LQR"):
        kc.export(law, tmp_path)


def test_a_missing_or_failing_compiler_is_named(tmp_path, monkeypatch):
    """The check says what it needs; the sources are written all the same."""
    law = carts_law()
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(DesignError, match="'no-such-compiler' cannot be run"):
        kc.export(law, tmp_path, check=True)
    monkeypatch.setenv("CC", "false")
    with pytest.raises(DesignError, match="failed: no message"):
        kc.export(law, tmp_path, check=True)
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DesignError, match="needs a C compiler.*cc, gcc, clang"):
        kc.export(law, tmp_path, check=True)
    assert (tmp_path / "law.c").exists()
