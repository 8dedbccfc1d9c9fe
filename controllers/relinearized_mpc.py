"""The main controller: model predictive control that re-linearises the learnt network along its own plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from koopctl.arrays import Array, all_finite
from koopctl.controllers.answer import Answer, RefusedError
from koopctl.controllers.checks import check_parts, check_search, check_value
from koopctl.controllers.local_program import LocalProgram
from koopctl.controllers.observer import Observer
from koopctl.controllers.planner import Planner
from koopctl.controllers.plans import Plans
from koopctl.controllers.prediction import Expansion
from koopctl.controllers.rival import Rival
from koopctl.controllers.tuning import Tuning
from koopctl.controllers.value import ValueFunction
from koopctl.controllers.value_fitting import fitted_value
from koopctl.controllers.weights import stage_weights
from koopctl.errors import DesignError, SolverError
from koopctl.models.base import Model
from koopctl.qp import QPSolution
from koopctl.task import Task

_LENGTHS = np.append(0.5 ** np.arange(6), 0.0)  # of the batched line search
_FIRST_LOOK = 8  # times as many candidates where there is no plan yet
_SMALL = 0.02  # a correction of every planned state below this share of the data's half range is taken unchecked
_STUCK = 1e-12  # a plan that no correction improves
_OPTIONS = "iterations tolerance candidates step_bound reserve random_state rival_rounds solver".split()
_CHEAPER = 1e-3  # share of the cost by which a rival must be cheaper to take over
_JUMP = 0.25  # an observation this far from the plan, in half ranges of the data, starts the plan anew


class RelinearizedMPC(Planner):
    r"""Real-time iteration on the multiple-shooting problem of a re-lifted, bilinear or recurrent model.

    Each call shifts the last plan, linearises all its stages in one batch, solves the quadratic program of the
    corrections and applies the first input. States and inputs are both kept as the plan, so that an unstable plant
    never has to be rolled out in open loop; the corrections are condensed around feedback gains (the LQR's, or during
    a search those of a Riccati pass along the plan), with the identity as the program's Hessian; the terminal cost is
    the LQR's cost-to-go at the target. If nothing binds, the unconstrained step is the answer and no solver is called.

    While the plan does not end where the LQR could take over within the bounds, the problem is far from convex: then
    `candidates` other plans (the last one plus piecewise-constant changes, switches between the bounds from scratch,
    and always the steady input and the LQR) are rolled out in one batch, and the best one is improved by the quadratic
    program and a batched line search.

    The first plan that arrives is rarely the best one, and improving it never makes one swing out of two. So, as long
    as the plant itself is out of the LQR's reach, a rival is kept beside the plan: the best of new candidates,
    improved once a call for `rival_rounds` calls, which takes over as soon as it is cheaper.

    With a `value`, plans end at what the rest of the way costs (Gauss-Newton in the quadratic program), not at the
    LQR's cost-to-go, which is wrong away from the target; and the greedy law's roll-out is one more candidate. It is
    made for one target: while another one is asked for, the LQR's cost-to-go takes its place.
    """

    kind: ClassVar[str] = "relinearized"

    def __init__(
        self,
        model: Model,
        task: Task,
        iterations: int = 1,
        tolerance: float = 1e-4,
        candidates: int = 16,
        step_bound: float = 2.0,
        reserve: float = 0.03,
        random_state: int = 0,
        rival_rounds: int = 4,
        value: ValueFunction | Mapping[str, int] | None = None,
        observer: Observer | None = None,
        offset_free: float = False,
        solver: str = "osqp",
    ) -> None:
        """Design the law.

        Args:
            model: A fitted model.
            task: Target, weights, bounds, horizon.
            iterations: Linearise-and-solve rounds a call, at most.
            tolerance: A round that asks for a smaller change of the plan, in half ranges of the data, is the last one:
                `info["converged"]` says whether it came to that, `info["step"]` what the last round asked for.
            candidates: Plans compared while the target is out of the LQR's reach; 0 switches the comparison off.
            step_bound: Largest change of a planned state in one round, in half ranges of the training data.
            reserve: Share of the input range that plans leave to the feedback, growing from nothing at their first
                step to all of it at their end; a swing-up planned with the whole range fails on the model's last 1 %.
            random_state: Seed of the candidates' perturbations.
            rival_rounds: Calls for which a rival plan is improved before another takes its place; 0 for no rivals.
            value: Terminal value, or arguments for `fitted_value` ({} for its defaults); takes seconds to fit.
            observer: Estimates the state from noisy or incomplete observations; made for the same model.
            offset_free: True, or the gain of the estimate of what the plant adds to the model at every step.
            solver: Of the quadratic programs: "osqp", "active_set", or "daqp" or "piqp" from the extra `fast`.

        Raises:
            DesignError: An argument is not what it should be, or the observer was made for another model.
            KoopctlError: There is no such solver, or it is not installed.
        """
        check_search(iterations, tolerance, candidates, step_bound, reserve, random_state, rival_rounds)
        check_parts(model, task, observer)
        check_value(value)
        self.iterations, self.tolerance, self.candidates = iterations, float(tolerance), candidates
        self.step_bound, self.reserve, self.random_state, self.solver = step_bound, reserve, random_state, solver
        self.rival_rounds = rival_rounds
        self.value = fitted_value(model, task, **value) if isinstance(value, Mapping) else value
        if self.value is not None and self.value.model is not model:
            raise DesignError("the value was fitted on another model; fit it on the law's own.")
        super().__init__(model, task, observer, offset_free)
        self._tuning = Tuning(self.prediction, self.goal)
        self._target_moved()

    def options(self) -> dict[str, Any]:
        """Return the options of the design."""
        chosen = {} if self.value is None else {"value": self.value}
        return {name: getattr(self, name) for name in _OPTIONS} | chosen | super().options()

    def _saved_options(self) -> dict[str, Any]:
        options = super()._saved_options()
        # The value is fitted again from its settings, which gives the same bytes.
        return options if self.value is None else options | {"value": self.value.settings}

    def reset(self) -> None:
        """Forget the past, and start the candidates' perturbations from their seed."""
        super().reset()
        self._local: Expansion | None = None
        self._rival = Rival(self.rival_rounds, self.candidates)
        self._gains = np.zeros((0, self.prediction.nu, self.model.nx))
        self._rng = np.random.default_rng(self.random_state)

    def _target_moved(self) -> None:
        """Terminal cost, fallback gain, cost function and bounds at the steady pair."""
        task, tuning = self.wanted, self._tuning
        tuning.tune()
        self.K, self.P = tuning.K, tuning.P
        self.notes += [tuning.note] if tuning.note and tuning.note not in self.notes else []
        terminal = tuning.terminal_set()
        self._bound(self.prediction.nx, terminal)
        value = self._terminal_value()
        self._plans = Plans(self.prediction, task, self.steady, self.P, self.K, self.reserve, terminal, value)
        self._rival.drop()
        self._program = LocalProgram(self._plans, self._constraints)
        self._local = None

    def _terminal_value(self) -> ValueFunction | None:
        """Return the value where it was made for what is wanted now."""
        wanted, nx = self.wanted, self.model.nx
        if self.value is None or wanted.Q.ndim == 3 or wanted.R.ndim == 3:
            return None
        home = self.value.home
        same = np.array_equal(stage_weights(nx, wanted.Q), home.Q) and np.array_equal(wanted.R, home.R)
        return self.value if same and self._tuning.near(home.x) else None

    def _redesign(self) -> None:
        gain, self._tuning = self.K, Tuning(self.prediction, self.goal)  # the old one stays what it was
        self._target_moved()
        if self.K is None and gain is not None:
            raise DesignError("the changed model has no LQR at the target.")

    # ------------------------------------------------------------------ one call
    def _act(self, x: Array) -> Answer:
        X, U, shift, local = self._start(x)
        searching = self.candidates > 0 and not (shift and self._plans.at_home(X[-1]))
        if searching:
            (X, U), local = self._search(X, U, shift), None
        rounds, self._step, moved = 0, np.inf, np.inf
        while rounds < self.iterations and self._step > self.tolerance and moved > _STUCK:
            before, local, rounds = (X, U), local or self.prediction.expand(X[:-1], U), rounds + 1
            # A merit of defects lets rounds go in circles, which one round a call outlives but convergence does not.
            X, U, cost, local, solution = self._round(X, U, local, searching or rounds > 1)
            moved = max(self._plans.sizes(X - before[0], U - before[1])) if rounds < self.iterations else moved
        away = self.candidates > 0 and self.rival_rounds > 0 and not self._plans.at_home(x)
        better = self._challenge(X, U, cost) if away and shift else None
        if better is not None:
            X, U, cost, local = *better, None
        if not (all_finite(X) and all_finite(U)):
            raise RefusedError("plan_not_finite")
        self._local = local
        status = "solved" if solution is None else solution.status
        detail = {
            "searching": searching,
            "iterations": rounds,
            "step": self._step,
            "converged": self._step <= self.tolerance,
            "qp_time": 0.0 if solution is None else solution.solve_time,
            "qp_iterations": 0 if solution is None else solution.iterations,
        }
        return Answer(U[0], status, "" if status == "solved" else "stopped_early", cost, X, U, detail)

    def _start(self, x: Array) -> tuple[Array, Array, int, Expansion | None]:
        """Return the last plan shifted to now with x as its first state, the shift, and the linearisation along it.

        Where there is no plan, or the observation is far from it, the roll-out of the LQR takes its place (shift 0).
        """
        difference = self.model.window_.difference
        if self._plan is not None:
            X, U = self._plans.shift(*self._plan, self._age + 1)
            X += self._plans.turns(X[0])  # bounds that have come with this call may be on another turn
            jump = difference(x, X[0])
            if self._plans.share(jump) <= _JUMP:
                X[0] += jump  # keeps the plan's count of turns where x has wrapped
                local = self._expand(X, U, self._age + 1)
                return np.concatenate((X, local[0][-1:])), U, self._age + 1, local
        return *self._plans.home(self.steady.x + difference(x, self.steady.x)), 0, None

    def _expand(self, X: Array, U: Array, shift: int) -> Expansion:
        """Linearise along states (N, nx); only the first one and the last ones are new since the last call."""
        if self._local is None or len(self.prediction.measured) or self.wanted.blocked:
            return self.prediction.expand(X, U)
        fresh = np.append(0, np.arange(len(U) - shift, len(U)))
        F, A, B = (np.concatenate([part[shift:], part[:shift]]) for part in self._local)
        F[fresh], A[fresh], B[fresh] = self.prediction.expand(X[fresh], U[fresh], fresh)
        return F, A, B

    def _search(self, X: Array, U: Array, shift: int) -> tuple[Array, Array]:
        """Compare the plan, held to its course by its gains, with other plans; return the cheapest."""
        # Which way to go is mostly decided at the start, so the first look around is the widest.
        count = self.candidates * (1 if shift else _FIRST_LOOK)
        others = self._plans.candidates(X, U, count, self._rng)
        if not shift:
            others = np.concatenate([others, self._plans.greedy(X[0])])
        *best, cost = self._plans.best_of(X[0], others, self._channel.last)
        if shift:
            gains = self._gains[np.minimum(np.arange(len(U)) + shift, len(U) - 1)]
            *kept, kept_cost = self._plans.follow(X, U, gains, self._channel.last, np.zeros(1))
            best = kept if kept_cost <= cost else best
        return best[0], best[1]

    def _challenge(self, X: Array, U: Array, cost: float) -> tuple[Array, Array, float] | None:
        """Improve the rival of the plan X, U by one round; return it once it is cheaper."""
        mine, step, rival = self._gains, self._step, self._rival
        new_cost = np.inf
        try:
            X_new, U_new = rival.next(self._plans, X, U, self._channel.last, self._rng)
            local = self.prediction.expand(X_new[:-1], U_new)
            X_new, U_new, new_cost, _, _ = self._round(X_new, U_new, local, True)
        except (RefusedError, np.linalg.LinAlgError):
            pass
        gains, self._gains = self._gains, mine
        if new_cost < (1.0 - _CHEAPER) * cost:
            self._gains = gains
            rival.drop()
            return X_new, U_new, new_cost
        self._step = step
        if np.isfinite(new_cost):
            rival.keep(X_new, U_new, gains)
        else:
            rival.drop()
        return None

    def _round(
        self, X: Array, U: Array, local: Expansion, searching: bool
    ) -> tuple[Array, Array, float, Expansion | None, QPSolution | None]:
        """Solve the linearised problem and move the plan by as much of the correction as pays."""
        try:
            dX, dU, gains, solution = self._program.solve(X, U, local, self._channel.last, searching)
        except SolverError as error:
            raise RefusedError(f"qp_{error.status}") from None
        self._gains = gains
        sizes = self._plans.sizes(dX, dU)
        self._step = max(sizes)
        if not searching:
            nearer = self._shooting_step(X, U, local[0], dX, dU, sizes[0])
            if nearer is not None:
                return *nearer, solution
        X, U, cost = self._plans.follow(X, U, gains, self._channel.last, _LENGTHS, dX, dU)
        return X, U, cost, None, solution

    def _shooting_step(
        self, X: Array, U: Array, F: Array, dX: Array, dU: Array, size: float
    ) -> tuple[Array, Array, float, Expansion | None] | None:
        """Return the plan after the longest of a few steps that lowers the merit, its cost and its linearisation.

        All stages of a step are checked in one batch, since a multiple-shooting plan needs no roll-out, and the
        linearisation found on the way serves the next call. A small correction is taken unchecked: what the
        linearisation misses is of second order in it.
        """
        if size <= _SMALL:
            X_new, U_new = X + dX, self._plans.clip(U + dU)
            return X_new, U_new, self._plans.cost_of(X_new, U_new, self._channel.last), None
        longest = min(1.0, self.step_bound / size)
        before, _ = self._plans.merit(X, U, F, self._channel.last)
        for length in (longest, 0.5 * longest, 0.2 * longest):
            X_new, U_new = X + length * dX, self._plans.clip(U + length * dU)
            local = self.prediction.expand(X_new[:-1], U_new)
            merit, cost = self._plans.merit(X_new, U_new, local[0], self._channel.last)
            if merit <= before:
                return X_new, U_new, cost, local
        return None
