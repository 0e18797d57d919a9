"""Recorded calibration data: what was seen of each request, what it cost and what each answer would have lost."""

from ttamer.traces.evidence import Evidence
from ttamer.traces.traces import Traces

__all__ = ["Evidence", "Traces"]
