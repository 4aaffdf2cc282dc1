"""How far trials that fail by accident move the picks, and whether the analysis says so.

A real run has trials that raise (out of memory, a lost mount) and trials whose loss is not finite
although the learning rate is fine (a bad batch, a flipped bit). Here a random share of the trials
of a search over a noiseless analytic curve does one or the other; the searches are those of a
user: LRStepSampler until it stops, then ``analyze``. The reference is ``analyze`` of the same
curve on a dense grid without faults.

Figures are kept under a label, so that the code before and after a change stand side by side:

    python examples/benchmarks/faults.py --label before
    python examples/benchmarks/faults.py --label after
    python examples/benchmarks/faults.py --smoke

What is in the JSON file for the same label and the same code is not computed again: a run that
was interrupted goes on.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

import curve_families
import numpy as np
import optuna
import report
from curve_families import FAMILIES
from curve_families import HIGH
from curve_families import LOW
from curve_families import Curve

from optuna_lrss import LRStepSampler
from optuna_lrss import NoWindowError
from optuna_lrss import analyze


#: Fault and share of the trials that it hits.
CONDITIONS = (
    ("none", 0.0),
    ("raised error", 0.05),
    ("raised error", 0.1),
    ("raised error", 0.2),
    ("spurious inf", 0.05),
    ("spurious inf", 0.1),
)
#: No curve of the refinement benchmark; a multiple of the number of families.
FIRST_SEED = 140_000
#: A search that takes this many trials has not ended: the slowest faultless one takes 25.
MOST_TRIALS = 200
#: In decades: what a training hardly feels, and what costs points in the picks benchmark.
SMALL, LARGE = 0.15, 0.3
#: Spacing of the reference grid in decades: half of the search's tolerance.
REFERENCE_STEP = 0.05
GROUPS = ("logistic", "all")


@dataclass(frozen=True)
class Outcome:
    """One search. ``off`` is None where the analysis finds no window."""

    family: str
    off: float | None  # decades between recommended and the reference
    resolved: bool
    doubts: tuple[str, ...]
    trials: int
    hit: int


def search(curve: Curve, seed: int, fault: str, share: float) -> optuna.Study:
    """A search as a user runs it; ``lrss:hit`` of the study counts the faults."""
    condition = CONDITIONS.index((fault, share))
    rng = np.random.default_rng([seed, condition])
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", curve.baseline)
    study.set_user_attr("lrss:steps", 20)

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 10.0**LOW, 10.0**HIGH, log=True)
        if rng.random() < share:
            trial.set_user_attr("hit", True)
            if fault == "raised error":
                raise RuntimeError("an accident")
            return math.inf
        return float(curve.loss(np.asarray(math.log10(lr))))

    study.optimize(objective, n_trials=MOST_TRIALS, catch=(RuntimeError,))
    return study


def reference(curve: Curve) -> float:
    """``recommended`` of a dense grid without faults, in decades."""
    study = optuna.create_study()
    study.set_user_attr("lrss:baseline", curve.baseline)
    study.set_user_attr("lrss:steps", 20)
    low, high = 10.0**LOW, 10.0**HIGH
    space: dict[str, optuna.distributions.BaseDistribution] = {
        "lr": optuna.distributions.FloatDistribution(low, high, log=True)
    }
    for x in np.linspace(LOW, HIGH, round((HIGH - LOW) / REFERENCE_STEP) + 1):
        params = {"lr": min(max(10.0 ** float(x), low), high)}
        value = float(curve.loss(x))
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=value))
    return math.log10(analyze(study).recommended)


def run_seed(job: tuple[int, tuple[tuple[str, float], ...]]) -> list[Outcome]:
    """One curve under every condition."""
    seed, conditions = job
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # the accidents would be logged
    warnings.simplefilter("ignore")
    curve = curve_families.draw(seed)
    truth = reference(curve)
    return [_outcome(curve, truth, search(curve, seed, *condition)) for condition in conditions]


def _outcome(curve: Curve, truth: float, study: optuna.Study) -> Outcome:
    hit = sum("hit" in t.user_attrs for t in study.trials)
    try:
        result = analyze(study)
    except NoWindowError:
        return Outcome(curve.family, None, False, ("no-window",), len(study.trials), hit)
    return Outcome(
        family=curve.family,
        off=abs(math.log10(result.recommended) - truth),
        resolved=result.resolved,
        doubts=tuple(d.code for d in result.diagnostics),
        trials=len(study.trials),
        hit=hit,
    )


def summarise(some: list[Outcome], faultless: list[Outcome]) -> dict[str, Any]:
    """What the table says of one group of curves under one condition."""
    off = [math.inf if o.off is None else o.off for o in some]
    found = [o.off for o in some if o.off is not None]
    silent = [o.resolved and not o.doubts for o in some]
    extra = [o.trials - f.trials for o, f in zip(some, faultless, strict=True)]
    return {
        "searches": len(some),
        "hit": sum(o.hit for o in some) / sum(o.trials for o in some),
        "over_small": sum(x > SMALL for x in off),
        "over_large": sum(x > LARGE for x in off),
        "worst": max(found, default=None),
        "no_window": sum(o.off is None for o in some),
        "silent": sum(x > SMALL and s for x, s in zip(off, silent, strict=True)),
        "doubted": sum(x <= SMALL and bool(o.doubts) for x, o in zip(off, some, strict=True)),
        "extra_trials": float(np.mean(extra)),
        "endless": sum(o.trials >= MOST_TRIALS for o in some),
    }


def measure(done: dict[str, str], n_seeds: int, save: Callable[[], None]) -> None:
    """Fills ``done``, the outcomes of every seed, in order; saves now and then."""
    wanted = [FIRST_SEED + i for i in range(n_seeds * len(FAMILIES))]
    todo = [(seed, CONDITIONS) for seed in wanted if str(seed) not in done]
    if not todo:
        return
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for i, (job, outcomes) in enumerate(zip(todo, pool.imap(run_seed, todo), strict=True)):
            done[str(job[0])] = json.dumps([asdict(o) for o in outcomes])  # a line in the file
            if i % 10 == 9:
                save()


def table_of(figures: dict[str, Any], group: str) -> str:
    """One row for each condition and label."""
    rows = []
    for i, (fault, share) in enumerate(CONDITIONS):
        for label, run in figures["labels"].items():
            seeds = [[_read(o) for o in json.loads(text)] for text in run["outcomes"].values()]
            outcomes = [o for o in seeds if group in ("all", o[0].family)]
            row = summarise([o[i] for o in outcomes], [o[0] for o in outcomes])
            worst = "-" if row["worst"] is None else f"{row['worst']:.2f}"
            rows.append(
                (
                    f"{fault}, {100 * share:.0f} %" if share else "none",
                    label,
                    row["searches"],
                    row["over_small"],
                    row["over_large"],
                    worst,
                    row["no_window"],
                    row["silent"],
                    row["doubted"],
                    f"{row['extra_trials']:+.1f}",
                    row["endless"],
                )
            )
    header = (
        "fault, share of trials", "code", "searches", f"over {SMALL}", f"over {LARGE}", "worst",
        "no window", f"over {SMALL} and silent", f"doubted within {SMALL}", "extra trials",
        "endless",
    )  # fmt: skip
    return report.table(header, rows)


def _read(plain: dict[str, Any]) -> Outcome:
    return Outcome(**{**plain, "doubts": tuple(plain["doubts"])})


def render(figures: dict[str, Any]) -> str:
    """The page, from nothing but what the JSON file holds."""
    tables = "\n\n".join(
        f"## {'All seven families' if group == 'all' else f'Family: {group}'}\n\n"
        f"{table_of(figures, group)}"
        for group in GROUPS
    )
    sources = "\n\n".join(f"*{k}*: {run['source']}" for k, run in figures["labels"].items())
    return f"""# Faults

A random share of a search's trials raises an error, or returns `inf` although its learning rate
is fine. Noiseless analytic curves, range 1e-7 to 10, defaults of `LRStepSampler`, every search
until it stops by itself (at most {MOST_TRIALS} trials), read by `analyze`. Errors are the decades
between `recommended` and what `analyze` recommends for the same curve on a faultless grid of
{REFERENCE_STEP} decades.

- *over {SMALL}*, *over {LARGE}*: searches whose `recommended` is further off than that; one
  without a window counts too, but not as *worst*.
- *over {SMALL} and silent*: of these, those that are "resolved" and carry no doubt: wrong
  without a word.
- *doubted within {SMALL}*: right, but with a doubt: the price of caution.
- *extra trials*: beyond the faultless search of the same curve, mean.

{tables}

{sources}
"""


def main() -> None:
    arguments = report.labelled(report.parser(__doc__)).parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = report.output_folder(arguments)
    figures, run = report.labelled_run(folder, "faults", arguments.label)
    done = run.setdefault("outcomes", {})
    began = time.perf_counter() - run.get("seconds", 0.0)

    def save() -> None:
        run["seconds"] = time.perf_counter() - began
        run["source"] = report.provenance("faults", run["seconds"], smoke=arguments.smoke)
        report.write_figures(folder, "faults", figures)

    measure(done, 1 if arguments.smoke else 25, save)
    save()
    report.write_page(folder, "faults", figures, render)


if __name__ == "__main__":
    main()
