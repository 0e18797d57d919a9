"""Policies that are exchanged when their files change."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from threading import Event, Lock, Thread
from typing import Any


class Watch:
    """Looks at files now and then, and loads them when they have changed; made by `Dispatcher.watch`.

    A context manager; `stop` ends it, and so does the end of the process.

    Attributes
    ----------
    error : Exception or None
        Why the last look did not lead to what the files say: the policies of before serve on. Or what `on_swap` raised,
        when they do not. None if all is well.
    swaps : int
        How often policies were exchanged.
    """

    def __init__(
        self, paths: Sequence[str], load: Callable[[], object], every: float, on_swap: Callable[[Any], object] | None
    ) -> None:
        self.swaps = 0
        self._away: Exception | None = None  # why the last look saw nothing
        self._refused: Exception | None = None  # why what it saw does not serve
        self._untold: Exception | None = None  # what `on_swap` raised
        self._paths = paths
        self._load = load
        self._on_swap = on_swap
        self._lock = Lock()
        self._stamps: list[tuple[int, int, int]] | None = self._look()
        self._tell(load())
        self._stopped = Event()
        self._thread = Thread(target=self._run, args=(every,), name="ttamer-watch", daemon=True)
        self._thread.start()

    @property
    def error(self) -> Exception | None:
        """Exception or None : see above."""
        return self._away or self._refused or self._untold

    def check(self) -> bool:
        """Look now: whether policies were exchanged."""
        with self._lock:
            try:
                stamps = self._look()
            except OSError as error:
                self._away = self._logged(error)
                return False
            self._away = None
            if stamps == self._stamps:
                return False
            try:
                loaded = self._load()
            except Exception as error:
                self._refused = self._logged(error)
                # One that cannot be used is not tried again before it changes, one that was gone is.
                self._stamps = None if isinstance(error, OSError) else stamps
                return False
            self._stamps, self._refused = stamps, None
            self.swaps += 1
            self._tell(loaded)
            return True

    def _logged(self, error: Exception) -> Exception:
        """The error, told once as long as it stays the same."""
        if str(error) != str(self.error):
            logging.getLogger("ttamer.serve").error("the policies of before serve on: %s", error)
        return error

    def _tell(self, loaded: object) -> None:
        """Policies serve, whatever becomes of this."""
        self._untold = None
        if self._on_swap is not None:
            try:
                self._on_swap(loaded)
            except Exception as error:
                logging.getLogger("ttamer.serve").exception("after an exchange of policies")
                self._untold = error

    def stop(self) -> None:
        """Look no more; the policies of now serve on."""
        self._stopped.set()
        self._thread.join()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _look(self) -> list[tuple[int, int, int]]:
        """What differs once a file was written again."""
        stats = [os.stat(path) for path in self._paths]
        return [(stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats]

    def _run(self, every: float) -> None:
        while not self._stopped.wait(every):
            self.check()
