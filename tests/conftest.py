"""Settings shared by all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The same examples on every run and machine, and no verdict that depends on how fast one is.
settings.register_profile("ttamer", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ttamer")
