"""The time that workers go by: one object, so that a test can hand them another."""

from __future__ import annotations

import time
from datetime import datetime


class Clock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time of day, as storages write it into trials."""
        return datetime.now()

    def monotonic(self) -> float:
        """Seconds since some moment; never set back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Lets other workers go on."""
        time.sleep(seconds)
