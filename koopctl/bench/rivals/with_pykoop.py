"""pykoop: EDMD with Tikhonov regularisation, on our features and on its own radial basis functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PACKAGE = "pykoop"
_ALPHAS = (1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)


class Edmd:
    """What all of them share: the layout of the data, the fit and both roll-outs."""

    label = ""
    rollouts: tuple[str, ...] = ("relifted", "linear")
    grid: tuple[dict[str, Any], ...] = tuple({"alpha": alpha} for alpha in _ALPHAS)

    def __init__(self, problem: dict[str, Array]) -> None:
        """Keep the problem."""
        self.problem = problem
        self.nu = problem["U"].shape[1]

    def prepare(self, data: tuple[list[Array], list[Array]]) -> Array:
        """Return one matrix [episode, x, u], the input of each last row zero (no pair uses it)."""
        return np.vstack([_matrix(i, x, u) for i, (x, u) in enumerate(zip(*data, strict=True))])

    def fit(self, prepared: Array, settings: dict[str, Any]) -> Any:
        """Return a fitted pipeline."""
        import pykoop

        pipeline = pykoop.KoopmanPipeline(self.lifts(settings), pykoop.Edmd(alpha=settings["alpha"]))
        return pipeline.fit(prepared, n_inputs=self.nu, episode_feature=True)

    def predict(self, model: Any, start: Array, ahead: Array, rollout: str) -> Array:
        """Return the package's own roll-out, lifted anew at each step or linear."""
        n, steps, _ = ahead.shape
        states = np.column_stack([np.arange(n), start])
        inputs = np.vstack([_matrix(i, np.empty((steps + 1, 0)), u) for i, u in enumerate(ahead)])
        rows = model.predict_trajectory(states, inputs, relift_state=rollout == "relifted")
        return np.asarray(rows[:, 1:].reshape(n, steps + 1, -1))

    def lifts(self, settings: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return the lifting functions by name."""
        raise NotImplementedError


class SameFeatures(Edmd):
    """Our tanh features of the state; the input enters linearly."""

    label = "pykoop, same features"

    def lifts(self, settings: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return the layer, on the states alone."""
        return [_of_states(_layer(*(self.problem[name] for name in ("weights", "biases", "mean", "scale"))))]


class SameJointFeatures(Edmd):
    """Our tanh features of state and input together; such a model has no linear roll-out."""

    label = "pykoop, same joint features"
    rollouts = ("relifted",)

    def lifts(self, settings: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return the layer, on states and inputs."""
        names = ("joint_weights", "joint_biases", "joint_mean", "joint_scale")
        return [("layer", _layer(*(self.problem[name] for name in names)))]


class OwnRbf(Edmd):
    """The package's radial basis functions of the standardised state, centres by Latin hypercube."""

    label = "pykoop, own RBF"
    grid = tuple(
        {"rbf": rbf, "shape": shape, "alpha": alpha}
        for rbf, shape in (("gaussian", 0.5), ("gaussian", 1.0), ("thin_plate", 1.0))
        for alpha in (1e-8, 1e-4, 1.0)
    )

    def lifts(self, settings: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return a scaler and the basis functions."""
        import pykoop
        from sklearn.preprocessing import StandardScaler

        centers = pykoop.QmcCenters(n_centers=int(self.problem["width"]), random_state=int(self.problem["seed"]))
        rbf = pykoop.RbfLiftingFn(settings["rbf"], centers, settings["shape"])
        return [("scaler", pykoop.SkLearnLiftingFn(StandardScaler())), _of_states(rbf)]


def entrants(problem: dict[str, Array]) -> list[Edmd]:
    """Return the ways this package takes part."""
    same: list[Edmd] = [SameFeatures(problem)] if "weights" in problem else []
    joint: list[Edmd] = [SameJointFeatures(problem)] if "joint_weights" in problem else []
    return [*same, *joint, OwnRbf(problem)]


def _matrix(episode: int, x: Array, u: Array) -> Array:
    return np.column_stack([np.full(len(x), float(episode)), x, np.vstack([u, np.zeros((1, u.shape[1]))])])


def _of_states(lift: Any) -> tuple[str, Any]:
    import pykoop

    return "states", pykoop.SplitPipeline(lifting_functions_state=[("lift", lift)], lifting_functions_input=None)


def _layer(weights: Array, biases: Array, mean: Array, scale: Array) -> Any:
    """Return a given tanh layer as a lifting function of the package."""
    import pykoop
    from sklearn.base import BaseEstimator, TransformerMixin

    class TanhLayer(TransformerMixin, BaseEstimator):
        def __init__(self, weights: Array, biases: Array, mean: Array, scale: Array) -> None:
            self.weights = weights
            self.biases = biases
            self.mean = mean
            self.scale = scale

        def fit(self, X: Array, y: None = None) -> TanhLayer:
            self.n_features_out_ = len(self.biases)
            return self

        def transform(self, X: Array) -> Array:
            return np.asarray(np.tanh((X - self.mean) / self.scale @ self.weights + self.biases))

    return pykoop.KernelApproxLiftingFn(TanhLayer(weights, biases, mean, scale))
