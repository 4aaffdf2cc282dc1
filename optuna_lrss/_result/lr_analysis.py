"""LRAnalysis: the data of an analysis, with what can be made of it a line each.

Schedules and the notebook's drawing are made by layers above, torch and visualization, which take
plain values or data. They are imported where they are asked for: here, and nowhere else, does a
lower layer call a higher one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from optuna.distributions import FloatDistribution

from optuna_lrss._result import as_json
from optuna_lrss._result import second_study
from optuna_lrss._result.data import PICKS
from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.report import report


if TYPE_CHECKING:
    from optuna.study import Study
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import CyclicLR
    from torch.optim.lr_scheduler import LambdaLR
    from torch.optim.lr_scheduler import OneCycleLR


@dataclass(frozen=True, eq=False)
class LRAnalysis(AnalysisData):
    __doc__ = AnalysisData.__doc__  # the attributes are listed once, beside the fields

    def __str__(self) -> str:
        return report(self)

    def _repr_html_(self) -> str:
        from optuna_lrss.visualization._html import to_html  # loads no plotting library

        return to_html(self)

    def apply(self, target: Any, pick: str | None = None) -> None:
        """Sets the learning rate of a training; every param group keeps its ratio to the first.

        Args:
            target: The optimizer of the training, the list of optimizers that was searched, a
                Hugging Face ``Trainer`` or a ``LightningModule`` (its ``lr`` or
                ``learning_rate``). A learning rate held in a tensor is overwritten in place.
            pick: Which learning rate, of ``recommended``, ``midpoint``, ``half_loss``,
                ``steepest``, ``min_lr`` and ``max_lr``; ``None`` for ``recommended``, of a
                ``Trainer`` for what its schedule wants.

        Raises:
            ValueError: If the pick is unknown, or a group has no learning rate or the first
                group's is 0, so that there are no ratios.
        """
        (lr,) = second_study.learning_rates(self, (pick or "recommended",), "pick")
        kinds = {cls.__name__ for cls in type(target).__mro__}  # no framework is imported for this
        if "Trainer" in kinds:
            from optuna_lrss.integrations import transformers

            transformers.apply(target, transformers.rate_for(target, self) if pick is None else lr)
        elif "LightningModule" in kinds:
            from optuna_lrss.integrations import lightning

            lightning.apply(target, lr)
        else:
            from optuna_lrss.torch import apply_learning_rate

            apply_learning_rate(target, lr)

    def one_cycle(
        self, optimizer: Optimizer, total_steps: int, *, peak: float | None = None, **options: Any
    ) -> OneCycleLR:
        """Torch's one-cycle schedule: from ``min_lr`` up to ``peak`` and down again.

        Args:
            optimizer: The optimizer of the training; its groups keep their learning-rate ratios.
            total_steps: Optimizer steps of the whole training.
            peak: Highest learning rate; default ``recommended``.
            **options: Further arguments of :class:`torch.optim.lr_scheduler.OneCycleLR`.

        Returns:
            The scheduler.

        Raises:
            ValueError: If ``peak`` or ``total_steps`` is not positive.
        """
        from optuna_lrss.torch import _schedulers

        return _schedulers.one_cycle(optimizer, total_steps, **self._rise(peak), **options)

    def cyclical(
        self, optimizer: Optimizer, *, step_size_up: int = 2000, **options: Any
    ) -> CyclicLR:
        """Torch's cyclical schedule with the window as its bounds, ``min_lr`` to ``max_lr``.

        Args:
            optimizer: The optimizer of the training; its groups keep their learning-rate ratios.
            step_size_up: Optimizer steps of the rising half of a cycle.
            **options: Further arguments of :class:`torch.optim.lr_scheduler.CyclicLR`.

        Returns:
            The scheduler.
        """
        from optuna_lrss.torch import _schedulers

        return _schedulers.cyclical(
            optimizer, low=self.min_lr, peak=self.max_lr, step_size_up=step_size_up, **options
        )

    def warmup_cosine(
        self,
        optimizer: Optimizer,
        total_steps: int,
        *,
        peak: float | None = None,
        warmup_steps: int | None = None,
        final: float = 0.0,
    ) -> LambdaLR:
        """Warm-up from ``min_lr`` to ``peak``, then a cosine down to ``final``.

        Args:
            optimizer: The optimizer of the training; its groups keep their learning-rate ratios.
            total_steps: Optimizer steps of the whole training.
            peak: Highest learning rate; default ``recommended``.
            warmup_steps: Optimizer steps of the warm-up; ``None`` for the default share.
            final: Learning rate at the end.

        Returns:
            The scheduler.
        """
        from optuna_lrss.torch import _schedulers

        return _schedulers.warmup_cosine(
            optimizer, total_steps, **self._rise(peak), warmup_steps=warmup_steps, final=final
        )

    def _rise(self, peak: float | None) -> dict[str, float]:
        """Where a schedule starts and how high it goes: a peak below the window lowers both."""
        peak = self.recommended if peak is None else peak
        return {"low": min(self.min_lr, peak / 2), "peak": peak}

    def distribution(self) -> FloatDistribution:
        """The window as a log-scaled distribution, to narrow a second study to."""
        return second_study.window_distribution(self)

    def enqueue_picks(
        self,
        study: Study,
        *,
        picks: Sequence[str] = PICKS,
        params: Mapping[str, Any] | None = None,
        param_name: str | None = None,
    ) -> None:
        """Enqueues the picks in a study, say one of full trainings.

        Args:
            study: The study to seed.
            picks: Which picks, of ``recommended``, ``midpoint``, ``half_loss``, ``steepest``,
                ``min_lr`` and ``max_lr``; a string is one of them.
            params: Other parameters to fix in the enqueued trials.
            param_name: Name of the learning rate there; default the analysed one.

        Raises:
            ValueError: If a pick is unknown.
        """
        name = param_name if param_name is not None else self.param_name
        second_study.enqueue_picks(self, study, picks, params or {}, name)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values; diverged losses stay ``inf``."""
        return as_json.to_plain(self)

    def to_json(self, *, indent: int | None = None) -> str:
        """As strict JSON: diverged losses are written as the string ``"inf"``."""
        return as_json.to_text(self, indent)

    @classmethod
    def from_json(cls, text: str) -> LRAnalysis:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ValueError: If ``text`` is not such JSON.
        """
        try:
            return cls.from_dict(json.loads(text))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"text is not the JSON of an LRAnalysis: {error!r}.") from error

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> LRAnalysis:
        """Reads what :meth:`to_dict` gave, or its JSON form."""
        return cls(**as_json.from_plain(plain))
