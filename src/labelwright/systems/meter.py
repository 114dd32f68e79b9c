"""What a piece of work costs."""

from __future__ import annotations

import os
import platform
import threading
import time
from pathlib import Path


class Meter:
    """CPU seconds of this process and the growth of its resident memory at the peak, sampled every 5 ms."""

    cpu = 0.0
    peak_mib = 0.0

    def __enter__(self) -> Meter:
        self._stop = threading.Event()
        self._start_rss = _resident_mib()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._start_cpu = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu = time.process_time() - self._start_cpu
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self._look()

    def _look(self) -> None:
        self.peak_mib = max(self.peak_mib, _resident_mib() - self._start_rss)


def _resident_mib() -> float:
    """Resident memory now; on systems that do not tell it this way, the peak so far, which is an upper bound."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError):
        try:
            import resource
        except ImportError:  # Windows tells neither
            return 0.0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if platform.system() == "Darwin" else 2**10)
