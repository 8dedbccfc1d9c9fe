"""What a preview refuses, in words that a log can use."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

import koopctl as kc
from koopctl.errors import KoopctlError

TASK = kc.Task(target=0.0, Q=1.0, R=0.1, horizon=4).resolve(("x0", "x1"), ("u0",))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"u_min": [[1.0], [1.0, 2.0]]}, "u_min is not numeric.*rows of equal length"),
        ({"y_max": [["a", "b"]]}, "y_max is not numeric"),
        ({"Q": "high"}, "Q is not numeric"),
        ({"Q": [[[1.0]]]}, r"Q has shape \(1, 1\), expected \(2, 2\)"),
        ({"R": np.zeros((0, 1, 1))}, "R has shape"),
        ({"u_max": np.zeros((0, 1))}, "u_max has shape"),
        ({"y_min": [[np.nan, 0.0]]}, "y_min holds NaN"),
        ({"u_max": {"u1": 1.0}}, "u1"),
        ({"u_min": 1.0, "u_max": -1.0}, "bounds cross"),
    ],
)
def test_nonsense_is_named(fields, words):
    """Every refusal is koopctl's own, with the field in it."""
    with pytest.raises(KoopctlError, match=words):
        kc.Preview(**fields).apply(TASK, ("x0", "x1"), ("u0",))


def test_any_mapping_is_by_name():
    """Not only a dict."""
    changed = kc.Preview(u_max=MappingProxyType({"u0": 2.0})).apply(TASK, ("x0", "x1"), ("u0",))
    assert np.array_equal(changed.u_max, [2.0])
