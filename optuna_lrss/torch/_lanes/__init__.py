"""Several learning rates in one vectorised pass: each tensor of a model once for every lane.

From the bottom up: ``rules`` (optimizers with a lane axis), ``stacked`` (a model's weights, one
row a lane), ``validation``, ``one_pass`` (a short trial of every lane), ``refusals`` (what cannot
be vectorised), ``count`` (how many lanes), ``rounds`` (a study that asks for as many trials at
once), ``optimize``.
"""

from __future__ import annotations
