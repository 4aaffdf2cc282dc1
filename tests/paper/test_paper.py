from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from typing import cast

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState

import examples.paper._studies as studies
import examples.paper._train as train
from examples.benchmarks.landscapes.score.landscape import Landscape
from examples.benchmarks.landscapes.score.replay import Replay
from examples.benchmarks.landscapes.score.replay import Score
from examples.paper import __main__ as command_line
from examples.paper._claim import METHODS
from examples.paper._claim import claim_of
from examples.paper._claim import claim_section
from examples.paper._claim import read_claim
from examples.paper._config import EXPERIMENTS
from examples.paper._config import PAPER_EXPERIMENTS
from examples.paper._config import config_of
from examples.paper._data import BEGIN
from examples.paper._data import END
from examples.paper._data import IGNORED
from examples.paper._data import PAD
from examples.paper._data import UNKNOWN
from examples.paper._data import Batches
from examples.paper._data import Words
from examples.paper._data import load
from examples.paper._models import from_scratch
from examples.paper._models import score
from examples.paper._page import render
from examples.paper._page import summary_of
from examples.paper._repick import read_again
from examples.paper._results import UnfinishedRunError
from examples.paper._results import measure
from examples.paper._results import read_all
from examples.paper._results import read_off
from examples.paper._studies import Experiment
from examples.paper._toy import write_toy_data
from optuna_lrss import LRAnalysis


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def experiment(data: Path, tmp_path: Path) -> Experiment:
    torch.set_num_threads(1)
    config = replace(config_of("bert", "cpu", smoke=True), full_steps=8, evaluations=4)
    return Experiment.prepare(config, data / "ag_news", tmp_path / "bert-cpu.db")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one element with each training step of a full training."""
    taken: list[int] = []

    def counted(model: Any, batch: Any) -> torch.Tensor:
        taken.append(1)
        return studies.batch_loss(model, batch)

    monkeypatch.setattr(train, "batch_loss", counted)
    return taken


def _study(experiment: Experiment, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=studies.storage_of(experiment.database))


# --- Killed and started again --------------------------------------------------------------------


def test_a_killed_full_training_ends_as_if_it_had_not_been(
    experiment: Experiment, tmp_path: Path, steps: list[int]
) -> None:
    # With dropout, so that the random state matters too.
    config = replace(
        experiment.config, model={**experiment.config.model, "hidden_dropout_prob": 0.3}
    )
    build = studies.builder(config, None, experiment.splits.vocabulary)

    def training(name: str) -> train.FullTraining:
        return train.FullTraining(
            config,
            experiment.splits,
            build,
            checkpoint=tmp_path / name,
            device=experiment.device,
        )

    whole: list[tuple[int, float]] = []
    expected = training("whole").run(3e-3, 1, lambda *report: whole.append(report))
    steps.clear()
    seen: list[tuple[int, float]] = []

    def kill_at_six(*report: Any) -> None:
        if report[0] == 6:
            raise KeyboardInterrupt
        seen.append(report)

    with pytest.raises(KeyboardInterrupt):
        training("killed").run(3e-3, 1, kill_at_six)
    resumed = training("killed").run(3e-3, 1, lambda *report: seen.append(report))
    assert (resumed.accuracy, resumed.loss, resumed.steps) == (
        expected.accuracy,
        expected.loss,
        8,
    )
    assert seen == whole
    assert len(steps) == 8 + 2  # only what came after the last checkpoint, at step 4, is lost
    assert not (tmp_path / "killed").exists()


def test_a_killed_grid_goes_on_with_the_same_trial_and_repeats_nothing(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, steps: list[int]
) -> None:
    report = optuna.Trial.report

    def killed(trial: optuna.Trial, value: float, step: int) -> None:
        report(trial, value, step)
        if trial.number == 1 and step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "report", killed)
        with pytest.raises(KeyboardInterrupt):
            studies.grid(experiment, [2e-3])
    first, second = _study(experiment, studies.GRID).trials
    assert (first.state, second.state) == (TrialState.COMPLETE, TrialState.RUNNING)
    assert list(second.intermediate_values) == [2, 4]

    study = studies.grid(experiment, [2e-3])
    config = experiment.config
    n = len(config.grid_lrs) + len(config.seeds) + 1  # and the grid's best, second seed
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * n
    assert len({(t.params["lr"], t.params["seed"]) for t in study.trials}) == n
    assert all(list(t.intermediate_values) == [2, 4, 6, 8] for t in study.trials)
    assert len(steps) == 8 * n + 2  # steps 3 and 4 of the killed training were not yet saved

    steps.clear()
    assert len(studies.grid(experiment, [2e-3]).trials) == n
    assert not steps


def test_a_killed_search_goes_on(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        report = optuna.Trial.report

        def killed(trial: optuna.Trial, value: float, step: int) -> None:
            if trial.number == 5:
                raise SystemExit
            report(trial, value, step)

        patch.setattr(optuna.Trial, "report", killed)
        with pytest.raises(SystemExit):
            studies.search(experiment)
    study = _study(experiment, studies.SEARCH)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 5 + [TrialState.RUNNING]
    analysis = studies.search(experiment)
    trials = _study(experiment, studies.SEARCH).trials
    finished = [t.params["lr"] for t in trials if t.state == TrialState.COMPLETE]
    assert analysis.resolved
    assert len(finished) == len(set(finished))
    assert [t.number for t in trials if t.state != TrialState.COMPLETE] == [5]
    assert trials[5].state == TrialState.FAIL
    studies.search(experiment)
    assert len(_study(experiment, studies.SEARCH).trials) == len(trials)


def test_a_run_that_is_not_finished_says_how_to_go_on(experiment: Experiment) -> None:
    studies.search(experiment)
    with pytest.raises(UnfinishedRunError, match="run --experiment bert --scale cpu goes on"):
        measure(experiment.config, experiment.database)


def test_a_grid_of_all_seeds_is_judged_by_their_mean(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracy = {(1e-4, 0): 90.0, (1e-4, 1): 10.0, (1e-3, 0): 60.0, (1e-3, 1): 60.0}

    def run(_: Any, lr: float, seed: int, __: Any) -> train.Outcome:
        found = next(
            (a for (x, s), a in accuracy.items() if abs(lr / x - 1) < 1e-6 and s == seed), 0.0
        )
        return train.Outcome(found, 1.0, 8, False, 0.1)

    monkeypatch.setattr(train.FullTraining, "run", run)
    whole = replace(experiment, config=replace(experiment.config, grid_seeds=2))
    study = studies.grid(whole, [2e-3])
    assert len(study.trials) == 2 * len(whole.config.grid_lrs)  # picks are read off
    assert studies.best_of_grid(study, whole.config) == pytest.approx(1e-3)
    assert studies.best_of_grid(study, experiment.config) == pytest.approx(1e-4)


def test_peak_is_trained_along_warmup_stable_decay(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis = studies.search(experiment)
    assert analysis.total_steps == experiment.config.full_steps
    seen: list[float] = []

    def make(config: Any, model: Any, lr: float) -> torch.optim.Optimizer:
        optimizer = studies.make_optimizer(config, model, lr)
        optimizer.register_step_pre_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
        return optimizer

    monkeypatch.setattr(train, "make_optimizer", make)
    study = studies.decaying(experiment, analysis)
    assert {t.params["seed"] for t in study.trials} == set(experiment.config.seeds)
    expected = [analysis.peak] * 7 + [analysis.peak / 2]  # 8 steps, no warm-up, two that decay
    assert seen == pytest.approx(expected * len(experiment.config.seeds))


def test_accuracies_are_read_off_the_grid_seed_by_seed() -> None:
    grid = [
        {"lr": 1e-3, "accuracies": [50.0, 60.0]},
        {"lr": 1e-1, "accuracies": [70.0, 20.0, 9.0]},
    ]
    found = read_off(grid, 1e-2)
    assert found["accuracies"] == pytest.approx([60.0, 40.0])
    assert (found["mean"], found["read_off"]) == (pytest.approx(50.0), True)


def test_a_stored_search_is_read_again(experiment: Experiment) -> None:
    analysis = studies.search(experiment)
    again = read_again(json.loads(analysis.to_json()), 4 * experiment.config.full_steps)
    for name in ("min_lr", "max_lr", "midpoint", "half_loss", "steepest", "baseline", "n_steps"):
        assert getattr(again, name) == getattr(analysis, name)
    longer = analysis.with_total_steps(4 * experiment.config.full_steps)
    assert again.recommended == pytest.approx(longer.recommended)
    assert again.peak == pytest.approx(longer.peak)


# --- The claim over the landscapes ---------------------------------------------------------------


def _replay(lost: list[tuple[float, float, float]], trainings: list[str]) -> Replay:
    """Points lost by the three methods in each row; a task has two trainings."""
    rows = [
        SimpleNamespace(name=name, task=name[0], cell=name, finetune=False) for name in trainings
    ]
    columns = np.array(lost, float).T
    scores = {
        method: Score(method, column, np.zeros(len(column)), column, column)
        for method, column in zip(METHODS, columns, strict=True)
    }
    return Replay(cast(list[Landscape], rows), scores)


def test_the_claim_is_counted_by_training_and_weighed_by_task() -> None:
    lost = [(0.0, 1.0, 2.0), (0.0, 3.0, 4.0), (5.0, 1.0, 1.2), (0.0, 2.0, 1.0)]
    found = claim_of(_replay(lost, ["a1", "a1", "a2", "b1"]))
    assert (found["tasks"], found["cells"], found["trainings"]) == (2, 3, 3)
    # a1 (two seeds) is in order; a2 and b1 are not; a and b count the same.
    assert found["shares"]["order"]["mean"] == pytest.approx(0.25)
    assert found["shares"]["order, half a point"]["mean"] == pytest.approx(0.25)
    best = [found["shares"][m]["mean"] for m in METHODS]
    assert best == pytest.approx([0.75, 0.25, 0.0])
    first, second, _ = METHODS
    difference = found["differences"][f"{second} minus {first}"]["mean"]
    assert difference == pytest.approx(0.5 * ((1 + 3 - 4) / 3 + 2))
    assert found["lost"][first]["over_5"] == 0.0


def test_the_claims_verdict_follows_its_figures() -> None:
    clear = claim_of(_replay([(0.0, 1.0, 2.0)] * 4, ["a1", "b1", "c1", "d1"]))
    assert "**On average the paper's order holds**" in claim_section({"all": clear})
    turned = claim_of(_replay([(0.0, 2.0, 1.0)] * 4, ["a1", "b1", "c1", "d1"]))
    text = claim_section({"all": turned})
    assert "Not even on average" in text
    assert "method 3 loses less than method 2" in text


# --- Data ----------------------------------------------------------------------------------------


def test_batches_resume_at_any_step_and_cover_each_epoch() -> None:
    rows = {"x": torch.arange(10)}
    batches = Batches(rows, 3, seed=4)
    whole = [batch["x"] for batch in islice(batches, 12)]
    for start in (0, 2, 3, 7):
        later = [batch["x"] for batch in islice(batches.starting_at(start), 12 - start)]
        assert all(torch.equal(a, b) for a, b in zip(whole[start:], later, strict=True))
    epochs = [torch.cat(whole[i : i + 3]) for i in (0, 3)]
    assert all(len(set(epoch.tolist())) == 9 for epoch in epochs)
    assert not torch.equal(*epochs)
    other = next(iter(Batches(rows, 3, seed=5)))["x"]
    assert not torch.equal(other, whole[0])


def test_words_know_the_most_frequent_ones() -> None:
    words = Words(["The cat, the dog", "the cat"], size=4 + 2)
    assert len(words) == 6
    the, cat = END + 1, END + 2
    assert words.encode(["Cat the dog!", "the"], 7).tolist() == [
        [BEGIN, cat, the, UNKNOWN, UNKNOWN, END, PAD],
        [BEGIN, the, END, PAD, PAD, PAD, PAD],
    ]
    assert words.encode(["the the the"], 3).tolist() == [[BEGIN, the, the]]


def test_pairs_that_do_not_fit_are_left_out(data: Path) -> None:
    config = replace(config_of("bart", "cpu", smoke=True), length=4, target_length=4)
    splits = load(config, data / "scan")
    lengths = splits.train["attention_mask"].sum(1)
    assert set(lengths.tolist()) == {3, 4}  # of 1 to 3 words, with begin and end
    labels = splits.train["labels"]
    assert ((labels != IGNORED).sum(1) == lengths).all()
    assert (labels[labels != IGNORED] != PAD).all()


def test_images_of_the_validation_set_are_not_trained_on(data: Path) -> None:
    config = replace(config_of("resnet", "cpu", smoke=True), length=96, validation_rows=20)
    splits = load(config, data / "hymenoptera")
    train_images = {image.numpy().tobytes() for image in splits.train["pixel_values"]}
    held_out = splits.validation["pixel_values"]
    assert len(train_images) == 2 * (96 - 20)
    assert not any(image.numpy().tobytes() in train_images for image in held_out)


def test_all_images_are_trained_on_and_validate_on_the_second_part(data: Path) -> None:
    config = config_of("lite0", "cpu")
    splits = load(config, data / "hymenoptera")
    assert splits.train["pixel_values"].shape == (2 * 96, 3, 64, 64)
    assert len(splits.validation["labels"]) == 32
    assert torch.equal(splits.validation["pixel_values"], splits.test["pixel_values"])
    assert splits.train["pixel_values"].abs().max() <= 1.01


def test_missing_data_end_with_status_2_and_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--experiment", "resnet", "--data", str(tmp_path)]
    arguments += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert command_line.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "https://download.pytorch.org/tutorial/hymenoptera_data.zip" in error
    assert "--data DIR" in error


# --- Models and scores ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "vocabulary", "parameters"),
    [
        ("bert", 30522, 109_482_240 + 4 * 769),  # bert-base-uncased and a head of four classes
        ("bart", 50265, 139_420_416),  # facebook/bart-base
        ("resnet", 0, 11_689_512 - 1000 * 513 + 2 * 513),  # resnet18 with two classes for 1,000
    ],
)
def test_gpu_scale_has_the_published_sizes(name: str, vocabulary: int, parameters: int) -> None:
    with torch.device("meta"):
        model = from_scratch(config_of(name, "gpu"), vocabulary)
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_gpu_scale_keeps_the_search_cheap() -> None:
    for name in PAPER_EXPERIMENTS:
        if name == "lite0":  # a net for small machines
            continue
        config = config_of(name, "gpu")
        twenty_trials = 20 * config.short_steps
        assert twenty_trials <= 0.05 * config.full_steps
        assert twenty_trials <= 0.01 * config.full_steps * len(config.grid_lrs)


def test_a_sequence_is_right_if_every_token_is() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, labels: torch.Tensor) -> SimpleNamespace:
            said = torch.tensor([[1, 2], [1, 0], [0, 0], [2, 2]])
            logits = torch.nn.functional.one_hot(said, 3).float()
            return SimpleNamespace(loss=torch.tensor(0.5), logits=logits)

    labels = torch.tensor([[1, 2], [1, 1], [0, IGNORED], [2, 2]])
    assert score(Fixed(), [{"labels": labels}]) == (75.0, 0.5)


# --- The command and the committed page ----------------------------------------------------------


def test_smoke_run_draws_every_figure_and_measures_what_it_ran(tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    arguments = ["run", "--experiment", "bert", "--smoke", "--threads", "1"]
    assert command_line.main([*arguments, "--runs", str(runs), "--out", str(out)]) == 0
    assert {path.name for path in out.glob("*.png")} == {f"fig{i}.png" for i in range(3, 10)}
    results = json.loads((out / "bert-cpu.json").read_text())
    study = optuna.load_study(study_name="grid", storage=f"sqlite:///{runs}/bert-cpu.db")
    best = max(t.value for t in study.trials if t.params["seed"] == 0 and _on_grid(t))
    assert max(e["accuracies"][0] for e in results["grid"]) == best
    for entry in results["picks"].values():
        assert entry["regret"] == pytest.approx(results["best"]["mean"] - entry["mean"])
    searched = optuna.load_study(study_name="search", storage=f"sqlite:///{runs}/bert-cpu.db")
    taken = sum(t.user_attrs["lrss:trial"]["steps"] for t in searched.trials)
    assert results["cost"]["search"]["steps"] == taken
    assert results["cost"]["grid"]["steps"] == 3 * results["cost"]["one"]["steps"] == 36


def _on_grid(trial: optuna.trial.FrozenTrial) -> bool:
    grid = config_of("bert", "cpu", smoke=True).grid_lrs
    return any(trial.params["lr"] == pytest.approx(lr) for lr in grid)


def test_the_committed_page_holds_nothing_but_its_results() -> None:
    folder = ROOT / "docs" / "paper"
    results = read_all(folder, "cpu")
    assert set(results) == set(EXPERIMENTS)
    page = (folder / "index.md").read_text(encoding="utf-8")
    assert render(results, read_claim(folder)) == page


def test_the_committed_picks_are_those_of_the_committed_searches() -> None:
    for name, results in read_all(ROOT / "docs" / "paper", "cpu").items():
        analysis = LRAnalysis.from_dict(results["analysis"])  # as the figures read it
        for pick, entry in results["picks"].items():
            moved = math.log10(entry["lr"] / getattr(analysis, pick))
            assert abs(moved) <= 0.1, (name, pick)  # the search's tolerance: the fit has changed


def test_the_results_page_quotes_the_committed_results() -> None:
    table = summary_of(read_all(ROOT / "docs" / "paper", "cpu"))
    assert table in (ROOT / "docs" / "results" / "index.md").read_text(encoding="utf-8")
