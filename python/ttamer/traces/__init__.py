"""Recorded calibration data: what was seen of each request, what it cost and what each answer would have lost."""

from ttamer.traces.evidence import Evidence
from ttamer.traces.traces import Traces, complete_traces

__all__ = ["Evidence", "Traces", "complete_traces"]
