"""A cascade for Ray Serve whose nodes answer what was recorded; its workers import this, too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ray import serve
from ray_settings import LINE

from ttamer.serve import Outcome
from ttamer.serve.ray import app


class Limited(Exception):
    cost = 0.25


class Unreadable(Exception):
    """Cannot be unpickled, like those of many libraries: what it is made of is not what it keeps."""

    def __init__(self, *, status: int) -> None:
        super().__init__(f"status {status}")


@serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
class Recorded:
    """Is asked for a row, or for a row and what nodes do instead of answering, by name."""

    def __init__(self, name: str, folder: str) -> None:
        assert LINE.nodes is not None
        self.name, self.number, self.folder = name, LINE.nodes.index(name), Path(folder)

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.001)
    async def answer(self, rows: list[int]) -> list[tuple[Any, ...]]:
        """Plain tuples, but for the last node."""
        answers = [([self.number, row], float(LINE.signals[row, self.number])) for row in rows]
        return [Outcome(*answer) for answer in answers] if self.number == 2 else answers

    async def __call__(self, payload: int | dict[str, Any]) -> Any:
        row, fault = (payload, None) if isinstance(payload, int) else (payload["row"], payload.get(self.name))
        if fault == "limited":
            raise Limited("rate limit")
        if fault == "unreadable":
            raise Unreadable(status=429)
        if fault == "odd":
            return "text"
        if fault == "hang":
            (self.folder / f"began-{row}").touch()
            try:
                await asyncio.sleep(60)
            finally:
                (self.folder / f"left-{row}").touch()
        return await self.answer(row)


def build(arguments: dict[str, str]) -> Any:
    """The application, as a config file asks for it."""
    nodes = {name: Recorded.options(name=name).bind(name, arguments["folder"]) for name in LINE.nodes or ()}
    return app(nodes, arguments["policy"], options={"ray_actor_options": {"num_cpus": 0}})
