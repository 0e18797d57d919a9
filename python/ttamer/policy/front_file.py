"""Fronts as files: the model, and the policy and the figures of each point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ttamer._base import checks, files
from ttamer.model import CascadeModel
from ttamer.policy.policy import Policy

FORMAT_VERSION = 1
MOST_POINTS = 4096
T = TypeVar("T")


def to_bytes(points: list[tuple[float, float, Policy]], unit: str, model: CascadeModel | None) -> bytes:
    """A file of points (cost, error, policy). An estimator that policies share is written once."""
    estimators = [policy.estimator for _, _, policy in points]
    shared = [k for k, each in enumerate(estimators) if k > 0 and each is not None and each is estimators[0]]
    arrays = {
        f"policy.{k}": _array(policy._to_bytes(with_estimator=k not in shared))
        for k, (_, _, policy) in enumerate(points)
    }
    if model is not None:
        arrays["model"] = _array(model._to_bytes())
    figures = np.array([[cost, error] for cost, error, _ in points])
    return files.to_bytes("front", FORMAT_VERSION, {"unit": unit, "shared": shared}, {"points": figures, **arrays})


def from_bytes(
    data: bytes, source: str, build: Callable[[list[tuple[float, float, Policy]], str, CascadeModel | None], T]
) -> T:
    """Read what `to_bytes` wrote.

    Raises
    ------
    ValueError
        If the bytes are damaged, of another kind or version, or do not fit together. `source` is named.
    """
    fields, arrays = files.from_bytes(data, "front", FORMAT_VERSION, source)
    try:
        files.check_fields(fields, {"unit": str, "shared": list})
        figures = arrays["points"]
        if figures.ndim != 2 or figures.shape[1] != 2 or figures.dtype != np.float64 or len(figures) > MOST_POINTS:
            raise ValueError(f"points: expected at most {MOST_POINTS} of (cost, error) float64, got {figures.shape}")
        if not np.isfinite(figures).all():
            raise ValueError("points: expected finite numbers")
        points: list[tuple[float, float, Policy]] = []
        for k, (cost, error) in enumerate(figures.tolist()):
            estimator = points[0][2].estimator if points and k in fields["shared"] else None
            policy = Policy._from_bytes(_bytes(arrays, f"policy.{k}"), f"policy.{k}", estimator)
            points.append((cost, error, policy))
        model = CascadeModel._from_bytes(_bytes(arrays, "model"), "model") if "model" in arrays else None
        return build(points, fields["unit"], model)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{source}: not a valid front ({checks.quoted(error)})") from None


def _array(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _bytes(arrays: dict[str, npt.NDArray[Any]], name: str) -> bytes:
    if arrays[name].dtype != np.uint8 or arrays[name].ndim != 1:
        raise ValueError(f"{name}: expected (*,) uint8, got {arrays[name].shape} {arrays[name].dtype}")
    return arrays[name].tobytes()
