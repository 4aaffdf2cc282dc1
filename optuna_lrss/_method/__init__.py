"""The mathematics: NumPy and SciPy only, no Optuna and no torch.

==========  ==========================================================================
curve       losses over learning rates, repeats averaged
levels      every level of a loss that means something, once, with its reason
fit         a smooth model of a curve, for slopes and curvatures that survive noise
knee        min_lr: three estimators of one point, each for its moment
points      the points of interest, in the paper's order
recommend   the pick for a full training
divergence  when a loss counts as diverged
search      which learning rate to try next, and when to stop: a module for each strategy
==========  ==========================================================================
"""

from __future__ import annotations
