"""LRAnalysis: the data of an analysis, with what can be made of it a line each.

Schedules and the notebook's drawing are made by layers above, torch and visualization, which take
plain values or data. They are imported where they are asked for: here, and nowhere else, does a
lower layer call a higher one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from optuna.distributions import FloatDistribution

from optuna_lrss._method.recommend import peak_lr
from optuna_lrss._method.sureness import RISKS
from optuna_lrss._result import as_json
from optuna_lrss._result import schedule_check
from optuna_lrss._result import second_study
from optuna_lrss._result.data import PICKS
from optuna_lrss._result.data import AnalysisData
from optuna_lrss._result.data import Diagnostic
from optuna_lrss._result.horizons import drift_of
from optuna_lrss._result.horizons import for_length
from optuna_lrss._result.inputs import is_count
from optuna_lrss._result.pick_doubts import judged_by_length
from optuna_lrss._result.report import report
from optuna_lrss._study.arguments import is_number
from optuna_lrss._study.arguments import require_positive


if TYPE_CHECKING:
    from optuna.study import Study
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import CyclicLR
    from torch.optim.lr_scheduler import LambdaLR
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.lr_scheduler import OneCycleLR


@dataclass(frozen=True, eq=False)
class LRAnalysis(AnalysisData):
    __doc__ = AnalysisData.__doc__  # the attributes are listed once, beside the fields

    def __str__(self) -> str:
        return report(self)

    def _repr_html_(self) -> str:
        from optuna_lrss.visualization._html import to_html  # loads no plotting library

        return to_html(self)

    def plot(self, backend: str = "plotly") -> Any:
        """The curve with its window and picks, as ``optuna_lrss.visualization`` draws it.

        Args:
            backend: ``"plotly"`` or ``"matplotlib"``.

        Returns:
            The plotly figure, or the matplotlib axes. In a notebook it shows as a cell's last
            expression; elsewhere call its ``show()``, or ``ax.figure.savefig(...)``.

        Raises:
            ValueError: If the backend is neither of them.
            ImportError: If the backend is not installed.
        """
        from optuna_lrss.visualization import _backends  # loads a plotting library when it draws

        return _backends.plot_lr_curve(self, backend)

    def apply(self, target: Any, pick: str | None = None) -> None:
        """Sets the learning rate of a training; every param group keeps its ratio to the first.

        Args:
            target: The optimizer of the training, the list of optimizers that was searched, a
                Hugging Face ``Trainer`` or a ``LightningModule`` (its ``lr`` or
                ``learning_rate``). A learning rate held in a tensor is overwritten in place.
            pick: Which learning rate, of ``recommended``, ``peak``, ``midpoint``,
                ``half_loss``, ``steepest``, ``min_lr`` and ``max_lr``; ``None`` for
                ``recommended``, of a ``Trainer`` for what its schedule wants.

        Raises:
            ValueError: If the pick is unknown, or a group has no learning rate or the first
                group's is 0, so that there are no ratios.
        """
        (lr,) = second_study.learning_rates(
            self, ("recommended" if pick is None else pick,), "pick"
        )
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

    def with_total_steps(self, total_steps: int) -> LRAnalysis:
        """The same analysis with ``recommended`` and ``peak`` for a training of another length.

        What :func:`analyze` gives with ``total_steps``.

        Args:
            total_steps: Optimizer steps of the training.

        Returns:
            A new analysis; all else is as it was measured.

        Raises:
            ValueError: If ``total_steps`` is no positive whole number.
        """
        if not is_count(total_steps):
            raise ValueError(
                f"total_steps={total_steps!r} must be a whole number of at least 1, the optimizer "
                "steps of the training: len(train_loader) * epochs."
            )
        lengths = self.total_steps, int(total_steps)
        picks = for_length({"recommended": self.recommended}, self.horizon, *lengths)
        horizons = {n: for_length(p, max(n, 1), *lengths) for n, p in self.horizons.items()}
        result = replace(
            self,
            recommended=picks["recommended"],
            peak=picks["peak"],
            horizons=horizons,
            drift=drift_of(horizons),
            total_steps=int(total_steps),
            total_steps_known=True,
        )
        return replace(result, diagnostics=judged_by_length(result))

    def pick(self, *, risk: float, schedule: str = "constant") -> float:
        """A learning rate by how sure it is to be too high.

        It is too high when it lies above every learning rate that loses less than a point, as the
        landscapes have counted it.

        Args:
            risk: Share of trainings in which it may be, from 0.05 to 0.5. ``recommended`` has
                about 0.2, ``peak`` about 0.15.
            schedule: ``"constant"``, or ``"decay"`` for the highest rate of a schedule that decays
                to 0.

        Returns:
            A learning rate, for a training of ``total_steps``.

        Raises:
            ValueError: If ``risk`` is out of its range, or the schedule unknown.
        """
        if not (is_number(risk) and RISKS[0] <= risk <= RISKS[-1]):
            raise ValueError(
                f"risk={risk!r} must lie in [{RISKS[0]}, {RISKS[-1]}]: the share of trainings in "
                "which the learning rate may be too high."
            )
        names = {"constant": "recommended", "decay": "peak"}
        if schedule not in tuple(names):
            raise ValueError(f"schedule={schedule!r} is unknown, use one of {tuple(names)}.")
        name = names[schedule]
        return self.sureness(name).at_risk(getattr(self, name), risk)

    def one_cycle(
        self, optimizer: Optimizer, total_steps: int, *, peak: float | None = None, **options: Any
    ) -> OneCycleLR:
        """Torch's one-cycle schedule: from ``min_lr`` up to ``peak`` and down again.

        Args:
            optimizer: The optimizer of the training; its groups keep their learning-rate ratios.
            total_steps: Optimizer steps of the whole training.
            peak: Highest learning rate; default ``peak``, for so many steps.
            **options: Further arguments of :class:`torch.optim.lr_scheduler.OneCycleLR`.

        Returns:
            The scheduler.

        Raises:
            ValueError: If ``peak`` or ``total_steps`` is not positive.
        """
        from optuna_lrss.torch import _schedulers

        return _schedulers.one_cycle(
            optimizer, total_steps, **self._rise(peak, total_steps), **options
        )

    def cyclical(
        self, optimizer: Optimizer, *, step_size_up: int = 2000, **options: Any
    ) -> CyclicLR:
        """Torch's cyclical schedule with the window as its bounds, ``min_lr`` to ``max_lr``.

        A window that is too narrow to train in, or leaves ``recommended`` out, is widened with a
        warning.

        Args:
            optimizer: The optimizer of the training; its groups keep their learning-rate ratios.
            step_size_up: Optimizer steps of the rising half of a cycle.
            **options: Further arguments of :class:`torch.optim.lr_scheduler.CyclicLR`.

        Returns:
            The scheduler.
        """
        from optuna_lrss.torch import _schedulers

        low, peak = second_study.training_window(self, "cyclical()")
        return _schedulers.cyclical(
            optimizer, low=low, peak=peak, step_size_up=step_size_up, **options
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
            peak: Highest learning rate; default ``peak``, for so many steps.
            warmup_steps: Optimizer steps of the warm-up; ``None`` for the default share.
            final: Learning rate at the end.

        Returns:
            The scheduler.
        """
        from optuna_lrss.torch import _schedulers

        return _schedulers.warmup_cosine(
            optimizer,
            total_steps,
            **self._rise(peak, total_steps),
            warmup_steps=warmup_steps,
            final=final,
        )

    def wsd(
        self,
        optimizer: Optimizer,
        total_steps: int,
        *,
        peak: float | None = None,
        warmup_steps: int | None = None,
        decay_share: float | None = None,
        final: float = 0.0,
    ) -> LambdaLR:
        """Warm-up, stable, decay: from ``min_lr`` to ``peak``, held, and down to ``final``.

        Args:
            optimizer: The optimizer of the training; its groups keep their learning-rate ratios.
            total_steps: Optimizer steps of the whole training.
            peak: Highest learning rate; default half-way between ``recommended`` and ``peak``
                for so many steps (the method page, section 7).
            warmup_steps: Optimizer steps of the warm-up; ``None`` for the default share.
            decay_share: Share of the steps over which the learning rate falls in a line; ``None``
                for the last fifth.
            final: Learning rate at the end.

        Returns:
            The scheduler.

        Raises:
            ValueError: If ``total_steps`` is no positive whole number, or warm-up and decay
                overlap.
        """
        from optuna_lrss.torch import _schedulers

        share = _schedulers.DECAY_SHARE if decay_share is None else decay_share
        return _schedulers.wsd(
            optimizer,
            total_steps,
            **self._rise(peak, total_steps, held=True),
            warmup_steps=warmup_steps,
            decay_share=share,
            final=final,
        )

    def check(
        self,
        scheduler: LRScheduler | Callable[[int], float],
        total_steps: int,
        *,
        every: int = 1,
    ) -> tuple[Diagnostic, ...]:
        """What is doubtful about a schedule, by what the search has found.

        The learning rates are those that the scheduler would give the first param group; neither
        it nor its optimizer is changed, for they are copied. One that needs metrics
        (``ReduceLROnPlateau``) is judged by where it starts.

        Args:
            scheduler: A torch scheduler attached to its optimizer, stepped or not; or a function
                from an optimizer step, counted from 0, to a learning rate.
            total_steps: Optimizer steps of the whole training.
            every: Optimizer steps between two steps of the scheduler: ``len(train_loader)`` where
                it is stepped once per epoch.

        Returns:
            The doubts, the weightiest first, each with its entry on the troubleshooting page;
            empty where the schedule suits the window and the training's length.

        Raises:
            ValueError: If the steps are no positive whole numbers, or ``scheduler`` is neither, or
                gives learning rates that are negative or not finite, or none above 0.
        """
        from optuna_lrss.torch import _planned_rates

        plan = _planned_rates.planned_rates(scheduler, total_steps, every)
        return schedule_check.judge(self.with_total_steps(total_steps), plan)

    def _rise(
        self, peak: float | None, total_steps: int, *, held: bool = False
    ) -> dict[str, float]:
        """Where a schedule starts and how high it goes: a peak below the window lowers both."""
        if peak is None:
            peak = peak_lr(self.with_total_steps(total_steps).recommended, held=held)
        peak = require_positive("peak", peak, "a learning rate, or None for the pick")
        return {"low": min(self.min_lr, peak / 2), "peak": peak}

    def distribution(self) -> FloatDistribution:
        """The window as a log-scaled distribution, to narrow a second study to.

        A window that is too narrow to train in, or leaves ``recommended`` out, is widened with a
        warning.
        """
        low, high = second_study.training_window(self, "distribution()")
        return FloatDistribution(low, high, log=True)

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
            picks: Which picks, of ``recommended``, ``peak``, ``midpoint``, ``half_loss``,
                ``steepest``, ``min_lr`` and ``max_lr``; a string is one of them.
            params: Other parameters to fix in the enqueued trials.
            param_name: Name of the learning rate there; default the analysed one.

        Raises:
            ValueError: If a pick is unknown.
        """
        name = param_name if param_name is not None else self.param_name
        second_study.enqueue_picks(self, study, picks, {} if params is None else params, name)

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
