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
        self.error: Exception | None = None
        self.swaps = 0
        self._is_away = False
        self._paths = paths
        self._load = load
        self._on_swap = on_swap
        self._lock = Lock()
        self._stamps = self._look()
        self._tell(load())
        self._stopped = Event()
        self._thread = Thread(target=self._run, args=(every,), name="ttamer-watch", daemon=True)
        self._thread.start()

    def check(self) -> bool:
        """Look now: whether policies were exchanged."""
        with self._lock:
            try:
                stamps = self._look()
                if stamps == self._stamps:
                    if self._is_away:  # as it was before
                        self._is_away, self.error = False, None
                    return False
                self._stamps = stamps  # a file that cannot be used is not tried again before it changes
                loaded = self._load()
            except Exception as error:
                self._is_away = self._is_away or isinstance(error, FileNotFoundError)
                if str(error) != str(self.error):
                    logging.getLogger("ttamer.serve").error("the policies of before serve on: %s", error)
                self.error = error
                return False
            self._is_away, self.error = False, None
            self.swaps += 1
            self._tell(loaded)
            return True

    def _tell(self, loaded: object) -> None:
        """Policies serve, whatever becomes of this."""
        if self._on_swap is not None:
            try:
                self._on_swap(loaded)
            except Exception as error:
                logging.getLogger("ttamer.serve").exception("after an exchange of policies")
                self.error = error

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
