"""The validation samples of a loader, in the order in which a sample of them takes them in.

What a search needs of a large validation set is a part that is drawn from all of it, the same for
every trial, and that holds every smaller part (the method page, section 1). Nothing is drawn at
random: sample i goes to the place frac(i phi) with the golden ratio phi, and the first m by place
lie evenly over the whole loader whatever m is, so that a loader sorted by class gives all classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Generator
from contextlib import closing
from typing import Any
from typing import NamedTuple

import numpy as np

from optuna_lrss._method.curve import FloatArray
from optuna_lrss.torch._batches import batch_size
from optuna_lrss.torch._batches import form_of
from optuna_lrss.torch._batches import joined
from optuna_lrss.torch._batches import rows_of


_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
#: A sample begins with so many rows; of batches that stay whole, with so many of these, the fewest
#: that tell how batches differ (to a quarter, 1 / sqrt(2 (8 - 1))).
LEAST_ROWS, LEAST_BATCHES = 64, 8
#: What a sample's size is decided on: 32 blocks of 8 rows tell the scatter of rows to an eighth,
#: 1 / sqrt(2 (32 - 1)), at the price of half a dozen steps; 16 whole batches to a fifth.
PILOT_ROWS, PILOT_BATCHES = 256, 16
_PILOT_BLOCK = PILOT_ROWS // 32
#: Batches that a sample is validated in, if the loader's are not smaller: four give a standard
#: error at all.
_IN_BATCHES = 4


def places(first: int, count: int) -> FloatArray:
    """Where so many items from one on stand in the order of a sample, in [0, 1)."""
    return np.asarray((first + 1.0 + np.arange(count)) * _GOLDEN % 1.0)


class _Piece(NamedTuple):
    """A batch of a loader, or what is kept of it.

    Attributes:
        batch: The batch.
        place: Of each of its rows, or of the batch as a whole, shape ``(n,)`` or ``(1,)``.
        rows: How many rows it has.
    """

    batch: Any
    place: FloatArray
    rows: int

    def upto(self, place: float) -> _Piece | None:
        """What of it lies at most at a place."""
        at = np.flatnonzero(self.place <= place)
        if len(at) == len(self.place):
            return self
        if not len(at):
            return None
        return _Piece(rows_of(self.batch, at.tolist()), self.place[at], len(at))


class Pool:
    """The samples of one pass over a loader, of which no more are kept than may be needed.

    Batches whose rows cannot be taken apart and joined with those of others (graphs, padding that
    differs from batch to batch) are taken or left as a whole.

    Args:
        read: Begins the pass; gives its batches. May be called again, where more is needed.
        most: Keep so many rows, and up to twice as many on the way.
        by_rows: Whether rows may be taken apart, as far as the batches go.

    Attributes:
        rows: Rows of the whole pass.
    """

    def __init__(
        self,
        read: Callable[[], Generator[Any, None, None]],
        most: float = math.inf,
        *,
        by_rows: bool = True,
    ) -> None:
        self._read = read
        self._by_rows = by_rows
        self._draw(max(most, PILOT_ROWS))

    @property
    def by_rows(self) -> bool:
        """Whether samples are made of rows, not of batches."""
        return self._by_rows

    def in_whole_batches(self) -> Pool:
        """The same pass, of which batches stay whole, as for a loss that needs them so."""
        return Pool(self._read, self._most, by_rows=False) if self._by_rows else self

    @property
    def least(self) -> int:
        """Rows of the smallest sample."""
        return self._rows_within(LEAST_ROWS, LEAST_BATCHES)

    @property
    def for_pilot(self) -> int:
        """Rows that a sample's size is decided on."""
        return self._rows_within(PILOT_ROWS, PILOT_BATCHES)

    def blocks(self) -> list[Any]:
        """The rows of :attr:`for_pilot` in the order of samples, in batches for their scatter."""
        return self.take(self.for_pilot, _PILOT_BLOCK)

    def take(self, rows: int | None = None, size: int | None = None) -> list[Any]:
        """A sample, in batches.

        Args:
            rows: How many rows; of whole batches as many as make so many. ``None`` for all, in
                the very batches of the loader, as also where there are no more.
            size: Rows of each batch, if they can be chosen.
        """
        if rows is None or rows >= self.rows:
            return self._all()
        if rows > self._kept:
            self._draw(rows)
        last = self._place_of(rows)
        pieces = [part for piece in self._pieces if (part := piece.upto(last)) is not None]
        place = np.concatenate([piece.place for piece in pieces])
        order = np.argsort(place, kind="stable")
        if not self._by_rows:
            return [pieces[i].batch for i in order]
        together = rows_of(joined([piece.batch for piece in pieces]), order.tolist())
        if size is None:
            size = min(self._batch, math.ceil(rows / _IN_BATCHES))
        return [rows_of(together, slice(i, i + size)) for i in range(0, len(order), size)]

    def _all(self) -> list[Any]:
        if math.isinf(self._last):
            return [piece.batch for piece in self._pieces]
        return list(self._read())

    def _draw(self, most: float) -> None:
        self._most = most
        self._last = math.inf  # the place behind which nothing is kept
        self._pieces: list[_Piece] = []
        self.rows = self._batch = self._kept = 0
        items, form = 0, None
        with closing(self._read()) as batches:
            for batch in batches:
                rows = batch_size(batch)
                if self._by_rows:
                    own = form_of(batch)
                    form = own if form is None else form
                    if own is None or own != form:
                        break
                count = rows if self._by_rows else 1
                self._keep(_Piece(batch, places(items, count), rows))
                items += count
                self.rows += rows
                self._batch = max(self._batch, rows)
            else:
                return
        self._by_rows = False
        self._draw(most)

    def _keep(self, piece: _Piece) -> None:
        kept = piece.upto(self._last)
        if kept is None:
            return
        self._pieces.append(kept)
        self._kept += kept.rows
        few = not self._by_rows and len(self._pieces) <= 2 * PILOT_BATCHES
        if few or self._kept <= 2 * self._most:
            return
        self._last = self._place_of(self._most, PILOT_BATCHES)
        self._pieces = [part for p in self._pieces if (part := p.upto(self._last)) is not None]
        self._kept = sum(p.rows for p in self._pieces)

    def _rows_within(self, rows: int, batches: int) -> int:
        if self._by_rows:
            return min(rows, self.rows)
        last = self._place_of(rows, batches)
        return sum(piece.rows for piece in self._pieces if piece.place[0] <= last)

    def _place_of(self, rows: float, batches: int = 1) -> float:
        """Up to which place there are so many rows, and of whole batches so many of these."""
        place = np.concatenate([piece.place for piece in self._pieces])
        each = [np.full(len(p.place), p.rows / len(p.place)) for p in self._pieces if len(p.place)]
        order = np.argsort(place, kind="stable")
        reached = np.searchsorted(np.cumsum(np.concatenate(each)[order]), rows - 0.5)
        at = max(int(reached), 0 if self._by_rows else batches - 1)
        return float(place[order[min(at, len(order) - 1)]])
