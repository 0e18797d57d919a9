"""What was certified of a policy, as its file keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any

from ttamer._base import checks
from ttamer._base.files import check_fields
from ttamer._base.numbers import number, with_unit

NAMES = ("max_error", "max_cost", "max_cost_quantile")
DIGEST = 64
"""Hexadecimal digits of a SHA-256."""


@dataclass(frozen=True)
class ServiceLevel:
    """What a policy may lose or cost.

    Attributes
    ----------
    name : str
        The argument of `ttamer.tune` that states it.
    bound : float
        What is asked for: an error, or a cost in `unit`.
    low, high : float
        The range of the bounded quantity: an error lies in [0, max_loss], a cost between that of the cheapest first
        node and that of the costliest walk. Where each request has its own costs, between 0 and what was stated, or
        infinity.
    exact : bool
        Whether the quantity takes its two ends only, so that its mean is a binomial share.
    quantile : float or None
        The share of requests that may cost at most `bound`; None where `bound` is for a mean.
    unit : str
        Unit of `bound`.
    graded : bool
        Whether the error is a mean of losses other than 0 and 1.
    """

    name: str
    bound: float
    low: float
    high: float
    exact: bool
    quantile: float | None = None
    unit: str = ""
    graded: bool = False

    def text(self, bound: float | None = None) -> str:
        """The bound, or another one, in words: ``a mean cost of at most 0.4 ms``."""
        value = with_unit(number(self.bound if bound is None else bound), self.unit)
        if self.quantile is not None:
            return f"a cost of at most {value} in {100 * self.quantile:.4g}% of requests"
        if self.name == "max_error":
            return f"{'a mean loss' if self.graded else 'an error'} of at most {value}"
        return f"a mean cost of at most {value}"


@dataclass(frozen=True)
class Guarantee:
    """What `ttamer.tune` certified: the policy keeps all limits on requests like those it was tuned on.

    Attributes
    ----------
    limits : tuple of ServiceLevel
        Kept all at once, with probability `confidence` over the rows.
    confidence : float
    relative_to : {"labels", "last"}
        What an error is: an answer other than the label, or other than that of the last node.
    fitted_rows, tested_rows : int
        Rows that the policy was fitted on, and others that it was tested on.
    traces : str
        `Traces.digest` of all of them.
    date : str
        The day of the test, ``2026-11-29``, in UTC.
    """

    limits: tuple[ServiceLevel, ...]
    confidence: float
    relative_to: str
    fitted_rows: int
    tested_rows: int
    traces: str
    date: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: object) -> Guarantee:
        """What `as_dict` gave; ValueError, KeyError or TypeError if it is none."""
        if not isinstance(content, Mapping):
            raise ValueError(f"guarantee: expected a mapping, got {type(content).__name__}")
        texts = {"relative_to": str, "traces": str, "date": str}
        check_fields(content, {"limits": list, "confidence": float, "fitted_rows": int, "tested_rows": int, **texts})
        if not 0 < content["confidence"] < 1:
            raise ValueError(f"confidence: expected a number in (0, 1), got {content['confidence']}")
        if content["relative_to"] not in ("labels", "last"):
            raise ValueError(f"relative_to: expected 'labels' or 'last', got {content['relative_to']!r}")
        if len(content["traces"]) != DIGEST or not set(content["traces"]) <= set("0123456789abcdef"):
            raise ValueError(f"traces: expected {DIGEST} hexadecimal digits, got {content['traces']!r}")
        date.fromisoformat(content["date"])
        values = {field.name: content[field.name] for field in fields(cls)}
        return cls(**{**values, "limits": tuple(_level(each) for each in content["limits"])})

    def __str__(self) -> str:
        kept = " and ".join(limit.text() for limit in self.limits)
        last = ", errors against the last node's answers" if self.relative_to == "last" else ""
        return (
            f"{kept}{last}, with confidence {self.confidence:g}; tested on {self.tested_rows:,} rows on {self.date}, "
            f"traces {self.traces[:12]}"
        )


def _level(content: object) -> ServiceLevel:
    if not isinstance(content, Mapping):
        raise ValueError(f"limits: expected mappings, got {type(content).__name__}")
    numbers = {"bound": float, "low": float, "high": float}
    check_fields(content, {"name": str, **numbers, "exact": bool, "unit": str, "graded": bool})
    if content["name"] not in NAMES:
        raise ValueError(f"limits: expected {', '.join(NAMES)}, got {content['name']!r}")
    if content["quantile"] is not None:
        checks.real("quantile", content["quantile"])
    return ServiceLevel(**{field.name: content[field.name] for field in fields(ServiceLevel)})
