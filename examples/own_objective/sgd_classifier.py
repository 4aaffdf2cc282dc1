"""An objective of your own around scikit-learn: SGDClassifier.partial_fit on the digits.

    pip install scikit-learn
    python examples/own_objective/sgd_classifier.py

Two things differ from a neural network. SGDClassifier takes a step for each row, so that a short
trial of 20 small batches has hundreds of steps. And where its weights overflow it raises, instead
of going on with NaN.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import optuna
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze


CLASSES = np.arange(10)
PIXELS, LABELS = load_digits(return_X_y=True)
PIXELS = PIXELS / 16.0
ORDER = np.random.default_rng(0).permutation(len(LABELS))
TRAIN, VALIDATION, TEST = ORDER[:1000], ORDER[1000:1300], ORDER[1300:]
BATCH, BATCHES = 32, 20


def train(lr: float, batches: int) -> SGDClassifier:
    """A classifier trained at a constant learning rate; the same batches for each of them."""
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=lr, random_state=0)
    for i in range(batches):
        rows = TRAIN[np.arange(i * BATCH, (i + 1) * BATCH) % len(TRAIN)]
        model.partial_fit(PIXELS[rows], LABELS[rows], classes=CLASSES)
    return model


def short_trial(trial: optuna.Trial) -> float:
    lr = trial.suggest_float("lr", 1e-6, 1e4, log=True)
    try:
        model = train(lr, BATCHES)
        with np.errstate(over="ignore", invalid="ignore"):
            guesses = model.predict_proba(PIXELS[VALIDATION])
        loss = float(log_loss(LABELS[VALIDATION], guesses, labels=CLASSES))
    except ValueError:  # overflow: what scikit-learn refuses has diverged
        return math.inf
    return loss if math.isfinite(loss) else math.inf


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", RuntimeWarning)
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", math.log(len(CLASSES)))  # of weights that are all 0
    study.set_user_attr("lrss:steps", BATCH * BATCHES)
    study.set_user_attr("lrss:momentum", 0.0)
    study.optimize(short_trial)  # stops by itself
    result = analyze(study)
    print(result)

    print("\nTest accuracy after 10 epochs:")
    for name, factor in (
        ("a decade below", 0.1),
        ("recommended", 1.0),
        ("a decade above", 10.0),
    ):
        lr = factor * result.recommended
        model = train(lr, 10 * len(TRAIN) // BATCH)
        accuracy = 100.0 * model.score(PIXELS[TEST], LABELS[TEST])
        print(f"{name:>15}  lr {lr:<8.2g} {accuracy:5.1f} %")


if __name__ == "__main__":
    main()
