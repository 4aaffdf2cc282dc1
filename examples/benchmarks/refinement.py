"""Trials that a search needs and how well it then knows the points, beside other ways to search.

Analytic families with known points at four noise levels; measured curves (eight digits tasks
here, DeepOBS where its data lie); rounds of simultaneous workers; warm starts; cost per trial.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import curve_families
import numpy as np
import optuna
import report
import torch
from curve_families import HIGH
from curve_families import LOW
from curve_families import POINTS
from curve_families import Curve
from digits_tasks import TASKS
from digits_tasks import Task
from digits_tasks import digits
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepPruner
from optuna_lrss import LRStepSampler
from optuna_lrss import NoWindowError
from optuna_lrss import analyze
from optuna_lrss.torch import StepObjective


NOISES = (0.0, 0.005, 0.02, 0.05)
#: Seeds of the published curves; others were used while the search was developed.
FIRST_SEED = 70_000
JUDGED = ("min_lr", "max_lr", "half_loss")
Estimate = dict[str, float]  # point -> decades
Loss = Callable[[float], float]
FloatArrayLike = Sequence[float] | np.ndarray[Any, np.dtype[np.float64]]


# --- Ways to search -----------------------------------------------------------------------------


def new_study(sampler: optuna.samplers.BaseSampler | None, baseline: float) -> optuna.Study:
    study = optuna.create_study(sampler=sampler)
    study.set_user_attr("lrss:baseline", baseline)
    study.set_user_attr("lrss:steps", 20)
    return study


def objective_of(loss: Loss) -> Callable[[optuna.Trial], float]:
    return lambda t: loss(math.log10(t.suggest_float("lr", 10.0**LOW, 10.0**HIGH, log=True)))


def read(study: optuna.Study) -> Estimate:
    result = analyze(study)
    return {name: math.log10(getattr(result, name)) for name in POINTS}


def step_search(loss: Loss, baseline: float, **options: Any) -> optuna.Study:
    study = new_study(LRStepSampler(**options), baseline)
    study.optimize(objective_of(loss), n_trials=200)
    return study


def by_differences(study: optuna.Study, baseline: float) -> Estimate:
    """The points as the paper takes them: finite differences over the evaluated rates."""
    trials = sorted((t.params["lr"], t.value or 0.0) for t in study.trials)
    x = np.log10([lr for lr, _ in trials])
    y = np.asarray([value for _, value in trials])
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    at_max = int(np.argmin(y))
    yn = (y - y[at_max]) / (baseline - y[at_max])
    above = np.flatnonzero(yn[:at_max] >= 0.5)
    at_half = x[0]
    if above.size:
        i = int(above[-1])
        at_half = x[i] + (yn[i] - 0.5) / (yn[i] - yn[i + 1]) * (x[i + 1] - x[i])
    slope = np.gradient(yn, x)
    curvature = np.gradient(slope, x) / (1.0 + slope**2) ** 1.5
    left = x <= at_half
    found = {
        "min_lr": float(x[left][np.argmin(curvature[left])]),
        "max_lr": float(x[at_max]),
        "half_loss": float(at_half),
        "steepest": float(x[int(np.argmin(slope[: at_max + 1]))]),
    }
    found["midpoint"] = 0.5 * (found["min_lr"] + found["max_lr"])
    return found


def dense_grid(loss: Loss, baseline: float) -> optuna.Study:
    study = new_study(None, baseline)
    space: dict[str, optuna.distributions.BaseDistribution] = {}
    space["lr"] = optuna.distributions.FloatDistribution(10.0**LOW, 10.0**HIGH, log=True)
    for x in np.linspace(LOW, HIGH, 81):
        lr = min(max(10.0 ** float(x), 10.0**LOW), 10.0**HIGH)
        study.add_trial(
            optuna.create_trial(params={"lr": lr}, distributions=space, value=loss(float(x)))
        )
    return study


def golden_section(loss: Loss, n: int) -> float:
    """max_lr after n evaluations, in decades; a diverged loss counts as a very high one."""
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    a, b = LOW, HIGH
    c, d = b - ratio * (b - a), a + ratio * (b - a)
    fc, fd = loss(c), loss(d)
    for _ in range(n - 2):
        if fc < fd:
            b, d, fd = d, c, fc
            c = b - ratio * (b - a)
            fc = loss(c)
        else:
            a, c, fc = c, d, fd
            d = a + ratio * (b - a)
            fd = loss(d)
    return c if fc < fd else d


def optuna_search(sampler: optuna.samplers.BaseSampler, loss: Loss, n: int) -> float:
    """max_lr after n trials of one of Optuna's samplers, in decades."""
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective_of(lambda x: min(loss(x), 1e6)), n_trials=n)
    return math.log10(study.best_params["lr"])


# --- Analytic families --------------------------------------------------------------------------


def run_curve(job: tuple[int, float, bool]) -> list[dict[str, Any]]:
    """Every way to search on one curve at one noise level."""
    seed, noise, with_gp = job
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    curve = curve_families.draw(seed)
    rng = np.random.default_rng([seed, round(noise * 1000)])

    def loss(x: float) -> float:
        y = float(curve.loss(np.asarray(x)))
        return y + noise * curve.drop * float(rng.standard_normal()) if math.isfinite(y) else y

    rows: list[dict[str, Any]] = []

    def note(method: str, trials: int, find: Callable[[], Estimate]) -> None:
        try:
            found = find()
        except NoWindowError:
            found = {}
        errors = {k: abs(v - curve.points[k]) for k, v in found.items()}
        rows.append(
            {
                "method": method,
                "family": curve.family,
                "noise": noise,
                "trials": trials,
                "errors": errors,
            }
        )

    dense = dense_grid(loss, curve.baseline)
    note("dense grid, 0.1 decades", 81, lambda: read(dense))
    paper = step_search(loss, curve.baseline, strategy="paper")
    note("paper", len(paper.trials), lambda: by_differences(paper, curve.baseline))
    note("paper's trials, read by analyze", len(paper.trials), lambda: read(paper))
    frugal = step_search(loss, curve.baseline)
    n = len(frugal.trials)
    note("frugal", n, lambda: read(frugal))
    repeated = step_search(loss, curve.baseline, repeats=3)
    note("frugal, repeats=3", len(repeated.trials), lambda: read(repeated))
    note("golden section", n, lambda: {"max_lr": golden_section(loss, n)})
    tpe = optuna.samplers.TPESampler(seed=seed)
    note("TPE", n, lambda: {"max_lr": optuna_search(tpe, loss, n)})
    if with_gp:
        gp = optuna.samplers.GPSampler(seed=seed)
        note("GP", n, lambda: {"max_lr": optuna_search(gp, loss, n)})
    return rows


def analytic(n_curves: int, n_gp: int) -> list[dict[str, Any]]:
    jobs = [(FIRST_SEED + i, noise, i < n_gp) for noise in NOISES for i in range(n_curves)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return [row for rows in pool.imap(run_curve, jobs, chunksize=7) for row in rows]


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per noise and method: trials, and quantiles of every point's error."""
    table = []
    for noise in NOISES:
        methods = dict.fromkeys(r["method"] for r in rows if r["noise"] == noise)
        for method in methods:
            some = [r for r in rows if r["noise"] == noise and r["method"] == method]
            single = [r for r in some if r["family"] != "two minima"]
            table.append(
                {
                    "noise": noise,
                    "method": method,
                    "curves": len(some),
                    "lost": sum(not r["errors"] for r in some),
                    "trials": float(np.median([r["trials"] for r in some])),
                    "points": {k: _quantiles(some, k) for k in POINTS if k in some[0]["errors"]},
                    "over": _share_over(some),
                    "over_without_two_minima": _share_over(single),
                }
            )
    return table


def _quantiles(rows: list[dict[str, Any]], point: str) -> dict[str, float]:
    errors = [r["errors"].get(point, math.inf) for r in rows]
    finite = np.minimum(errors, 8.0)  # the range: a curve without a window misses by all of it
    return {
        "median": float(np.median(finite)),
        "p90": float(np.percentile(finite, 90)),
        "over": float(np.mean(finite > 0.3)),
    }


def _share_over(rows: list[dict[str, Any]]) -> float:
    """Share of curves with an error over 0.3 decades in min_lr, max_lr or half-loss."""
    return float(
        np.mean(
            [
                any(r["errors"].get(k, math.inf) > 0.3 for k in JUDGED if k in POINTS)
                if len(r["errors"]) != 1
                else r["errors"]["max_lr"] > 0.3
                for r in rows
            ]
        )
    )


# --- Rounds of workers --------------------------------------------------------------------------


def rounds(n_curves: int) -> list[dict[str, Any]]:
    """Workers that ask together and tell together, by ask-and-tell."""
    table = []
    for workers in (1, 4, 8, 16):
        counts, trials, repeated, again = [], [], 0, 0
        for i in range(n_curves):
            curve = curve_families.draw(FIRST_SEED + i)
            n, study = _run_rounds(curve, workers)
            lrs = [t.params["lr"] for t in study.trials]
            finite = [t.params["lr"] for t in study.trials if math.isfinite(t.value or 0.0)]
            twice = len(finite) - len(set(finite))
            repeated += twice
            again += len(lrs) - len(set(lrs)) - twice
            counts.append(n)
            trials.append(len(lrs))
        table.append(
            {
                "workers": workers,
                "rounds": float(np.median(counts)),
                "most_rounds": max(counts),
                "trials": float(np.median(trials)),
                "repeated": repeated,
                "rechecked": again,
            }
        )
    return table


def _run_rounds(curve: Curve, workers: int) -> tuple[int, optuna.Study]:
    sampler = LRStepSampler()
    study = new_study(sampler, curve.baseline)
    n = 0
    while not sampler.is_resolved(study):
        asked = [study.ask() for _ in range(workers)]
        losses = [objective_of(lambda x: float(curve.loss(np.asarray(x))))(t) for t in asked]
        for trial, loss in zip(asked, losses, strict=True):
            study.tell(trial, loss)
        n += 1
    return n, study


# --- Measured curves ----------------------------------------------------------------------------


def digits_objective(task: Task, batch_size: int) -> StepObjective:
    data, held_out = TensorDataset(*digits().train), TensorDataset(*digits().validation)
    model = task.build_model(0)
    generator = torch.Generator().manual_seed(0)
    return StepObjective(
        model,
        task.build_optimizer(model),
        F.cross_entropy,
        DataLoader(data, batch_size=batch_size, shuffle=True, generator=generator),
        DataLoader(held_out, batch_size=297),
        steps=20,
        validation_batches=None,
        low=10.0**LOW,
        high=10.0**HIGH,
    )


def digits_curve(task: Task, batch_size: int = 64) -> tuple[FloatArrayLike, FloatArrayLike, float]:
    """The 20-step curve at every 0.05 decades."""
    study = optuna.create_study()
    grid = np.linspace(LOW, HIGH, 161)
    for x in grid:
        study.enqueue_trial({"lr": min(max(10.0**x, 10.0**LOW), 10.0**HIGH)})
    study.optimize(digits_objective(task, batch_size), n_trials=grid.size)
    losses = [t.value if t.value is not None else math.inf for t in study.trials]
    return grid, losses, float(study.user_attrs["lrss:baseline"])


def measured(n_tasks: int, data: Path | None) -> list[dict[str, Any]]:
    """Each search on measured curves; the truth is ``analyze`` of the dense curve."""
    rows = []
    for name, group, x, losses, baseline in _measured_curves(n_tasks, data):
        lookup = _nearest(x, losses)
        try:
            truth = read(_study_of(x, losses, baseline))
        except NoWindowError:
            continue
        for method, options in (("paper", {"strategy": "paper"}), ("frugal", {})):
            study = step_search(lookup, baseline, **options)
            try:
                found = read(study)
            except NoWindowError:
                found = {}
            rows.append(
                {
                    "group": group,
                    "curve": name,
                    "method": method,
                    "trials": len(study.trials),
                    "errors": {k: abs(found[k] - truth[k]) for k in found},
                }
            )
    return rows


def _measured_curves(
    n_tasks: int, data: Path | None
) -> Iterator[tuple[str, str, FloatArrayLike, FloatArrayLike, float]]:
    for task in TASKS[:n_tasks]:
        x, losses, baseline = digits_curve(task)
        yield task.name, "digits", x, losses, baseline
    for path in sorted((data or Path("none")).glob("deepobs/*.npz")):
        cell = np.load(path)
        minibatch = cell["minibatch_train_loss"].astype(float)
        # No validation loss at step 20 was logged: the mean of the losses around it stands in.
        losses = np.where(
            np.isfinite(minibatch[:, :26]).all(axis=1), minibatch[:, 15:26].mean(1), np.inf
        )
        yield path.stem, "DeepOBS", np.log10(cell["lr"]), losses, float(minibatch[:, 0].mean())


def _study_of(x: FloatArrayLike, losses: FloatArrayLike, baseline: float) -> optuna.Study:
    study = new_study(None, baseline)
    lrs = [10.0 ** float(v) for v in x]
    space: dict[str, optuna.distributions.BaseDistribution] = {}
    space["lr"] = optuna.distributions.FloatDistribution(min(lrs), max(lrs), log=True)
    for lr, loss in zip(lrs, losses, strict=True):
        study.add_trial(
            optuna.create_trial(params={"lr": lr}, distributions=space, value=float(loss))
        )
    return study


def _nearest(x: FloatArrayLike, losses: FloatArrayLike) -> Loss:
    """The measured loss, linear between neighbours; the ends continue level."""
    known, values = np.asarray(x), np.asarray(losses)

    def loss(at: float) -> float:
        right = int(np.clip(np.searchsorted(known, at), 1, known.size - 1))
        pair = values[right - 1 : right + 1]
        if not np.isfinite(pair).all():
            return float(values[int(np.argmin(np.abs(known - at)))])
        return float(np.interp(at, known[right - 1 : right + 1], pair))

    return loss


# --- Warm starts and the pruner -----------------------------------------------------------------


def warm_starts(n_tasks: int) -> list[dict[str, Any]]:
    """The digits tasks at batch size 64, started from the analysis at 16, and the other way."""
    rows = []
    for task in TASKS[:n_tasks]:
        cold = {size: _search_digits(task, size) for size in (16, 64)}
        for known, size in ((16, 64), (64, 16)):
            warm = _search_digits(task, size, start=cold[known])
            rows.append(
                {
                    "task": task.name,
                    "change": f"{known} to {size}",
                    "cold": cold[size].n_trials,
                    "warm": warm.n_trials,
                    "shift": _decades(cold[size].max_lr, cold[known].max_lr),
                    "errors": {
                        k: abs(_decades(getattr(warm, k), getattr(cold[size], k))) for k in POINTS
                    },
                }
            )
    return rows


def _search_digits(task: Task, size: int, start: LRAnalysis | None = None) -> LRAnalysis:
    study = optuna.create_study(sampler=LRStepSampler(start=start), pruner=LRStepPruner())
    study.optimize(digits_objective(task, size), n_trials=100)
    return analyze(study)


def _decades(a: float, b: float) -> float:
    return math.log10(a / b)


def pruned(n_tasks: int) -> list[dict[str, Any]]:
    """An objective that reports the validation loss of every step, with and without the pruner."""
    rows = []
    for task in TASKS[:n_tasks]:
        results = {}
        for pruner in (optuna.pruners.NopPruner(), LRStepPruner()):
            study = optuna.create_study(sampler=LRStepSampler(strategy="paper"), pruner=pruner)
            study.set_user_attr("lrss:steps", 20)
            counter = [0]
            study.optimize(_reporting(task, study, counter), n_trials=100)
            results[type(pruner).__name__] = (analyze(study), counter[0])
        (plain, all_steps), (with_pruner, steps) = results.values()
        rows.append(
            {
                "task": task.name,
                "saved": 1.0 - steps / all_steps,
                "moved": max(
                    abs(_decades(getattr(with_pruner, k), getattr(plain, k))) for k in POINTS
                ),
            }
        )
    return rows


def _reporting(
    task: Task, study: optuna.Study, counter: list[int]
) -> Callable[[optuna.Trial], float]:
    """An own objective: the loop that users write, with a report after every step."""
    model = task.build_model(0)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    train, validation = digits().train, digits().validation
    rows = torch.randperm(len(train[1]), generator=torch.Generator().manual_seed(0))
    batches = [(train[0][i], train[1][i]) for i in rows[: 64 * 15].split(64)]

    @torch.no_grad()
    def validate() -> float:
        return float(F.cross_entropy(model(validation[0]), validation[1]))

    study.set_user_attr("lrss:baseline", validate())

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 10.0**LOW, 10.0**HIGH, log=True)
        model.load_state_dict(start)
        optimizer = task.build_optimizer(model, lr)
        loss = math.inf
        for step in range(1, 21):
            inputs, targets = batches[(step - 1) % len(batches)]
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            counter[0] += 1
            loss = validate()
            loss = loss if math.isfinite(loss) else math.inf
            trial.report(loss, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return loss

    return objective


# --- Cost ---------------------------------------------------------------------------------------


def costs(sizes: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Milliseconds per ask, suggest and tell in an in-memory study that holds n trials."""
    low, high = 10.0**LOW, 10.0**HIGH
    points = [10.0**x for x in np.linspace(LOW, HIGH, 400)]
    samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "LRStepSampler": LRStepSampler,
        "TPE": lambda: optuna.samplers.TPESampler(seed=0),
        "BruteForce": lambda: optuna.samplers.BruteForceSampler(seed=0),
        "Grid": lambda: optuna.samplers.GridSampler({"lr": points}, seed=0),
        "GP": lambda: optuna.samplers.GPSampler(seed=0),
    }
    table = []
    for n in sizes:
        for name, make in samplers.items():
            if (name == "GP" and n > 100) or (name == "Grid" and n > 1000):
                continue  # seconds per trial
            table.append(
                {"trials": n, "sampler": name, "ms": _cost(make(), n, low, high, points, repeats)}
            )
    return table


def _cost(
    sampler: optuna.samplers.BaseSampler,
    n: int,
    low: float,
    high: float,
    points: Sequence[float],
    repeats: int,
) -> float:
    study = new_study(sampler, 2.3)
    categorical = isinstance(
        sampler, (optuna.samplers.GridSampler, optuna.samplers.BruteForceSampler)
    )
    rng = np.random.default_rng(0)
    curve = curve_families.draw(FIRST_SEED)
    space: optuna.distributions.BaseDistribution = (
        optuna.distributions.CategoricalDistribution(points)
        if categorical
        else optuna.distributions.FloatDistribution(low, high, log=True)
    )
    for _ in range(n):
        lr = float(rng.choice(points)) if categorical else float(10.0 ** rng.uniform(LOW, HIGH))
        value = float(curve.loss(np.asarray(math.log10(lr))))
        study.add_trial(
            optuna.create_trial(
                params={"lr": lr}, distributions={"lr": space}, value=min(value, 1e6)
            )
        )
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        trial = study.ask()
        if categorical:
            lr = trial.suggest_categorical("lr", points)
        else:
            lr = trial.suggest_float("lr", low, high, log=True)
        # Grid and brute force want to stop the study once they have seen every value.
        with contextlib.suppress(RuntimeError):
            study.tell(trial, min(float(curve.loss(np.asarray(math.log10(lr)))), 1e6))
        times.append(time.perf_counter() - begin)
    return 1000.0 * float(np.median(times))


# --- The page -----------------------------------------------------------------------------------


def _cell(quantiles: dict[str, float] | None) -> str:
    if quantiles is None:
        return "-"
    return f"{quantiles['median']:.3f} / {quantiles['p90']:.3f} / {100 * quantiles['over']:.0f} %"


def _analytic_section(figures: dict[str, Any]) -> list[str]:
    rows = figures["analytic"]
    text = [
        "## Analytic curves",
        "",
        f"{figures['n_curves']} curves of seven families with known points, range 1e-7 to 10, "
        "tolerance 0.1 decades. Noise is normal, with the given share of the curve's loss drop "
        "as standard deviation, new in every trial. Errors in decades: median / 90th percentile "
        "/ share over 0.3 decades. A search that finds no window counts as missing by 8 decades. "
        "*paper* is the paper's search, read by finite differences as the paper does. Golden "
        "section and Optuna's samplers look for `max_lr` only, with as many trials as *frugal* "
        "took; GP ran on the first curves only.",
    ]
    for noise in NOISES:
        some = [r for r in rows if r["noise"] == noise]
        text += ["", f"### Noise {100 * noise:g} %", ""]
        text.append(
            report.table(
                [
                    "search",
                    "curves",
                    "trials",
                    "min_lr",
                    "max_lr",
                    "half-loss",
                    "midpoint",
                    "any over 0.3",
                    "same, without two minima",
                ],
                [
                    [
                        r["method"],
                        r["curves"],
                        f"{r['trials']:.0f}",
                        *(_cell(r["points"].get(k)) for k in (*JUDGED, "midpoint")),
                        f"{100 * r['over']:.0f} %",
                        f"{100 * r['over_without_two_minima']:.0f} %",
                    ]
                    for r in some
                ],
            )
        )
    return text


def _targets_section(figures: dict[str, Any]) -> list[str]:
    def of(noise: float, method: str) -> dict[str, Any]:
        return next(
            r for r in figures["analytic"] if r["noise"] == noise and r["method"] == method
        )

    frugal, paper = of(0.0, "frugal"), of(0.0, "paper")
    share = frugal["trials"] / paper["trials"]
    worst = max(frugal["points"][k]["p90"] for k in JUDGED)
    below = [
        all(
            of(n, "frugal")["points"][k]["p90"] < of(n, "paper")["points"][k]["p90"]
            for k in JUDGED
        )
        for n in NOISES[1:]
    ]
    at2, at2_repeats = of(0.02, "frugal"), of(0.02, "frugal, repeats=3")
    rows = [
        ["trials, as a share of the paper's", "45 % or less", f"{100 * share:.0f} %"],
        ["median trials", "16 or fewer", f"{frugal['trials']:.0f}"],
        ["largest 90th percentile, without noise", "0.1 or less", f"{worst:.3f}"],
        [
            "90th percentiles below the paper's at noise 0.5 / 2 / 5 %",
            "all",
            " / ".join("all" if b else "not all" for b in below),
        ],
        [
            "curves over 0.3 decades at 2 %, without two minima",
            "5 % or less",
            f"{100 * at2['over_without_two_minima']:.1f} %",
        ],
        [
            "the same with repeats=3",
            "5 % or less",
            f"{100 * at2_repeats['over_without_two_minima']:.1f} % "
            f"({at2_repeats['trials']:.0f} trials)",
        ],
    ]
    return ["## Targets", "", report.table(["figure", "target", "measured"], rows)]


def _measured_section(figures: dict[str, Any]) -> list[str]:
    text = [
        "## Measured curves",
        "",
        "20-step curves measured at every 0.05 decades on the eight digits tasks, and the DeepOBS "
        "training losses around step 20 (every 0.2 decades; only where that data set lies). The "
        "truth is `analyze` of the whole dense curve, so errors show what fewer trials cost; "
        "between measured learning rates the loss is linear.",
        "",
    ]
    rows = []
    for group in dict.fromkeys(r["group"] for r in figures["measured"]):
        for method in ("paper", "frugal"):
            some = [
                r for r in figures["measured"] if r["group"] == group and r["method"] == method
            ]
            rows.append(
                [
                    group,
                    method,
                    len(some),
                    f"{np.median([r['trials'] for r in some]):.0f}",
                    *(_cell(_quantiles(some, k)) for k in (*JUDGED, "midpoint")),
                ]
            )
    header = ["curves", "search", "number", "trials", "min_lr", "max_lr", "half-loss", "midpoint"]
    return [*text, report.table(header, rows)]


def _other_sections(figures: dict[str, Any]) -> list[str]:
    warm = figures["warm"]
    text = [
        "## Rounds",
        "",
        "Workers that ask together and report together, without noise.",
        "",
        report.table(
            [
                "workers",
                "rounds, median",
                "most",
                "trials, median",
                "repeated learning rates",
                "diverged ones evaluated again",
            ],
            [
                [
                    r["workers"],
                    f"{r['rounds']:.0f}",
                    r["most_rounds"],
                    f"{r['trials']:.0f}",
                    r["repeated"],
                    r["rechecked"],
                ]
                for r in figures["rounds"]
            ],
        ),
        "",
        "## Warm start",
        "",
        "The digits tasks at one batch size, started from the analysis at another: "
        f"{np.median([r['warm'] for r in warm]):.1f} trials in the median, "
        f"{np.median([r['cold'] for r in warm]):.1f} from a cold start; the largest difference to "
        "the cold start's points is "
        f"{np.median([max(r['errors'].values()) for r in warm]):.2f} decades in the median.",
        "",
        report.table(
            ["task", "batch size", "max_lr moved", "cold", "warm", "largest difference"],
            [
                [
                    r["task"],
                    r["change"],
                    f"{r['shift']:+.2f}",
                    r["cold"],
                    r["warm"],
                    f"{max(r['errors'].values()):.2f}",
                ]
                for r in warm
            ],
        ),
        "",
        "## Pruner",
        "",
        "An objective that reports the validation loss of every step, on the paper's search, with "
        "LRStepPruner and without.",
        "",
        report.table(
            ["task", "steps saved", "largest move of a point, decades"],
            [
                [r["task"], f"{100 * r['saved']:.0f} %", f"{r['moved']:.3f}"]
                for r in figures["pruned"]
            ],
        ),
        "",
        "## Cost of the sampler",
        "",
        "Milliseconds per ask, suggest and tell, median, in an in-memory study that already holds "
        "so many trials at random learning rates. Left out where one trial takes seconds.",
        "",
    ]
    sizes = list(dict.fromkeys(r["trials"] for r in figures["costs"]))
    names = list(dict.fromkeys(r["sampler"] for r in figures["costs"]))
    known = {(r["trials"], r["sampler"]): r["ms"] for r in figures["costs"]}
    rows = [
        [name, *(f"{known[n, name]:.2f}" if (n, name) in known else "-" for n in sizes)]
        for name in names
    ]
    return [*text, report.table(["sampler", *(f"{n:,} trials" for n in sizes)], rows)]


def render(figures: dict[str, Any]) -> str:
    parts = [
        "# Refinement",
        "",
        figures["source"],
        "",
        *_targets_section(figures),
        "",
        *_analytic_section(figures),
        "",
        *_measured_section(figures),
        "",
        *_other_sections(figures),
    ]
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder that holds deepobs/")
    arguments = parser.parse_args()
    smoke: bool = arguments.smoke
    data = arguments.data
    if data is None and (beside := Path(__file__).parents[3] / "shared" / "data").exists():
        data = beside
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    torch.set_num_threads(1)
    begin = time.perf_counter()
    n_curves = 7 if smoke else 210
    figures = {
        "smoke": smoke,
        "n_curves": n_curves,
        "costs": costs((100,) if smoke else (100, 1000, 10_000), 5 if smoke else 15),
        "analytic": summarise(analytic(n_curves, 0 if smoke else 70)),
        "rounds": rounds(n_curves),
        "measured": measured(1 if smoke else 8, data),
        "warm": warm_starts(1 if smoke else 8),
        "pruned": pruned(1 if smoke else 8),
    }
    seconds = time.perf_counter() - begin
    figures["seconds"] = seconds
    figures["source"] = report.provenance("refinement", seconds, smoke=smoke)
    report.write_page(report.output_folder(arguments), "refinement", figures, render)


if __name__ == "__main__":
    main()
