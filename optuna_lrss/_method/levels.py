"""The levels of a loss that mean something, each once.

A loss is read on the normalised scale: 1 is the untrained model, 0 the lowest loss. Noise is the
standard deviation of one loss, as a share of the same drop. Whatever asks "is this still plateau,
is this already divergence, does noise matter" asks here; a level that only one place needs, and
that no other could disagree with, stays there.
"""

from __future__ import annotations

import numpy as np

from optuna_lrss._method.curve import FloatArray


#: At or above it lies plateau, or a rate that learns no more. The knee of a symmetric logistic
#: fall lies at 0.96 where the fall is as steep as the model of a curve allows (a width of 0.06
#: decades) and lower where it is flatter: 0.86 at a quarter of a decade, 0.80 at a whole one. So
#: left of a loss above 0.97 there is no knee.
PLATEAU = 0.97
#: At or above it the lower end of a range has no knee left below it, if the range may still grow:
#: where 0.97 would let it grow once more for a knee that is already inside (see the knees above).
NEAR_PLATEAU = 0.9
#: A first sign of plateau, for a search that was told where the window is: the knee of the
#: flattest falls (see above).
SIGN_OF_PLATEAU = 0.8
#: Above it lies divergence: half a drop worse than the untrained model. How far above says nothing
#: about the window, so losses are cut off here.
WALL = 1.5
#: A first sign of the divergence wall, for a search that was told where the window is: a third of
#: the drop is lost again.
SIGN_OF_WALL = 0.3
#: Half of the possible loss reduction (paper, section 3.2.2).
HALF = 0.5
#: Noise below this cannot move a point: measured losses are taken at their word. Neighbours can be
#: told apart down to about its root (the method page, section 5), here 0.04 decades.
QUIET = 0.002


def before_half(yn: FloatArray, lowest: int) -> int | None:
    """Index left of the half-loss crossing, the first one met going left from the lowest loss.

    Args:
        yn: Normalised losses, shape ``(m,)``.
        lowest: Index of the lowest of them.

    Returns:
        The last index before ``lowest`` at or above one half; ``None`` where there is none.
    """
    above = np.flatnonzero(yn[:lowest] >= HALF)
    return int(above[-1]) if above.size else None
