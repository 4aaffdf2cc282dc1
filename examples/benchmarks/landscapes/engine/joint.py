"""Several seeds' lanes in the same tensors: small nets are bound by the number of operations."""

from __future__ import annotations

import torch
from torch import Tensor

from examples.benchmarks.landscapes.engine.optimizers import State
from examples.benchmarks.landscapes.engine.train import Lanes
from examples.benchmarks.landscapes.engine.train import Problem


#: Parameters up to which three seeds at once are faster than one by one (by 1.8 at 1,000, by
#: nothing at 2,400, on two cores with 1 MiB of L2 cache each).
JOINED_PARAMETERS = 2_000


class Joint(Problem):
    """Problems that differ in the seed; lane `i` of seed number `s` has the id `s * n + i`.

    Args:
        problems: One per seed.
    """

    def __init__(self, problems: list[Problem]) -> None:
        first = problems[0]
        vars(self).update(vars(first))
        self.problems = problems
        self._x, self._y = (
            torch.stack([p.data["train"][side] for p in problems]) for side in (0, 1)
        )
        self._rows = torch.stack([p.batches for p in problems])
        self._starts = torch.stack([p.first for p in problems])
        self._n = 1

    @property
    def seeds(self) -> int:
        return len(self.problems)

    def lanes(self, n: int) -> Lanes:
        """`n` nets of each seed with its first weights."""
        self._n = n
        each = [p.lanes(n) for p in self.problems]
        state = [torch.cat(s) for s in zip(*[e.state.tensors for e in each], strict=True)]
        return Lanes(
            torch.arange(n * self.seeds),
            torch.cat([e.theta for e in each]),
            {k: torch.cat([e.buffers[k] for e in each]) for k in each[0].buffers},
            State(state),
        )

    def batch_of(self, ids: Tensor, step: int) -> tuple[Tensor, Tensor]:
        if self.seeds == 1:
            return super().batch_of(ids, step)
        seeds = ids // self._n
        rows = self._rows[seeds, step]
        return self._x[seeds[:, None], rows], self._y[seeds[:, None], rows]

    def seen_of(self, ids: Tensor, step: int) -> Tensor:
        if self.seeds == 1:
            return super().seen_of(ids, step)
        seen = [p.seen_of(ids, step)[0] for p in self.problems]
        return torch.stack(seen)[ids // self._n]

    def first_of(self, ids: Tensor) -> Tensor:
        return self._starts[ids // self._n]


def joined(problems: list[Problem]) -> list[Joint]:
    """All seeds at once where the net is small and its rows are short; else one at a time."""
    first = problems[0]
    short = first.task.x_train.dim() == 2 and first.task.loss != "token_cross_entropy"
    if short and len(first.first) <= JOINED_PARAMETERS:
        return [Joint(problems)]
    return [Joint([p]) for p in problems]
