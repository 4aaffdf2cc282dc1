"""publish(): what it writes, and that a browser shows it, on SQLite and on PostgreSQL.

The pictures that the browser takes are kept where the environment variable LRSS_SCREENSHOTS
names a folder: ``dashboard.png`` there is the one in the README.
"""

from __future__ import annotations

import functools
import json
import math
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import make_server
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss import dashboard
from optuna_lrss.dashboard import BEGIN
from optuna_lrss.dashboard import END
from optuna_lrss.dashboard import FIGURE_ID
from optuna_lrss.dashboard import merge_note
from optuna_lrss.dashboard import publish
from optuna_lrss.dashboard import with_columns
from tests.visualization import cases


optuna_dashboard = pytest.importorskip("optuna_dashboard")

#: How long the browser may take on a machine that does other work as well, in ms.
PATIENCE = 300_000
USER_NOTE = "# My notes\n\nLook at *width* again on Monday."


def _new_study(storage: Any = None, **options: Any) -> optuna.Study:
    study = optuna.create_study(
        storage=storage, study_name="resnet18", sampler=LRStepSampler(), **options
    )
    study.set_user_attr("lrss:baseline", cases.BASELINE)
    study.set_user_attr("lrss:steps", 20)
    return study


def _objective(trial: optuna.Trial) -> float:
    return cases.loss_at(cases.suggest_x(trial))


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[RDBStorage]:
    storage = RDBStorage(f"sqlite:///{tmp_path}/lr.db")
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def _figure(study: optuna.Study) -> dict[str, Any]:
    """What optuna-dashboard will draw."""
    attrs = study._storage.get_study_system_attrs(study._study_id)
    prefix = f"dashboard:plot_data:{FIGURE_ID}:"
    chunks = {int(k.removeprefix(prefix)): v for k, v in attrs.items() if k.startswith(prefix)}
    loaded: dict[str, Any] = json.loads("".join(chunks[i] for i in sorted(chunks)))
    return loaded


# --- What is written ---


def test_writes_one_figure_a_note_and_the_summary(sqlite: RDBStorage) -> None:
    study = _new_study(sqlite)
    study.optimize(_objective)
    publish(study)
    result = analyze(study)
    attrs = study.user_attrs
    for name in ("min_lr", "max_lr", *result.picks):
        assert attrs[f"lrss:{name}"] == getattr(result, name)
    assert "peak" in result.picks
    assert attrs["lrss:status"] == "resolved"
    assert attrs["lrss:baseline"] == cases.BASELINE
    figure = _figure(study)
    assert len(json.dumps(figure["layout"].get("template"))) < 200  # plotly's own has 7 kB
    assert figure["layout"]["title"]["text"].startswith("Learning-rate curve")
    note = optuna_dashboard.get_note(study)
    for name in ("recommended", "peak"):
        low, high = result.intervals[name]
        assert f"| {getattr(result, name):.3g} | {low:.3g} to {high:.3g} |" in note
    assert "viable window is" in note
    assert "for a training of 1000 steps" in note
    attrs = study._storage.get_study_system_attrs(study._study_id)
    ids = {key.split(":")[2] for key in attrs if key.startswith("dashboard:plot_data:")}
    assert ids == {FIGURE_ID}


def test_without_a_window_the_note_says_why_and_no_pick_is_left() -> None:
    study = _new_study()
    publish(study)
    assert study.user_attrs["lrss:status"] == "no viable window"
    assert "no finished trial" in optuna_dashboard.get_note(study)
    study.optimize(_objective)
    publish(study)
    assert study.user_attrs["lrss:recommended"] == analyze(study).recommended
    # what was learned turns out to be below the untrained model's loss
    study.set_user_attr("lrss:baseline", 0.1)
    publish(study)
    assert study.user_attrs["lrss:recommended"] is None
    assert study.user_attrs["lrss:peak"] is None
    assert "Nothing learns" in optuna_dashboard.get_note(study)
    assert len(_figure(study)["data"]) > 0


def test_note_keeps_what_the_user_wrote_around_it() -> None:
    study = _new_study()
    study.optimize(_objective)
    optuna_dashboard.save_note(study, USER_NOTE)
    publish(study)
    first = optuna_dashboard.get_note(study)
    assert first.startswith(USER_NOTE + "\n\n" + BEGIN)
    optuna_dashboard.save_note(study, first + "\nAnd *depth*.\n")
    publish(study)
    again = optuna_dashboard.get_note(study)
    assert again == first + "\nAnd *depth*.\n"


@given(st.text(), st.text(), st.text(), st.text())
def test_merging_touches_nothing_of_the_users(before: str, after: str, old: str, new: str) -> None:
    for text in (before, after, old, new):
        if BEGIN in text or END in text:
            return
    note = before + f"{BEGIN}\n\n{old}\n\n{END}" + after
    merged = merge_note(note, new)
    assert merged.startswith(before + BEGIN)
    assert merged.endswith(END + after)
    assert merge_note(merged, new) == merged
    added = merge_note(before, new)
    assert added.startswith(before.rstrip("\n"))
    assert merge_note(added, new) == added


WILD = [
    "`",
    "a ``b``` c",
    "one\n\n# two",
    "\u2028- three\r\n",
    "",
    "<img src=x>",
    f"x\n{END}\ny",
    BEGIN,
]


@functools.cache
def _note_of(value: str, name: str) -> str:
    """The note of a study with one other parameter, published twice."""
    study = _new_study()

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_categorical(name, [value])
        return _objective(trial)

    study.optimize(objective, n_trials=6)
    publish(study)
    publish(study)
    return str(optuna_dashboard.get_note(study))


def _blocks_and_spans(note: str) -> tuple[list[str], list[str]]:
    """How a note is built, and its code spans, as CommonMark reads it."""
    tokens = MarkdownIt("commonmark").parse(note)
    inline = [t for token in tokens for t in token.children or []]
    return [t.type for t in tokens], [t.content for t in inline if t.type == "code_inline"]


@pytest.mark.filterwarnings("ignore:Choices for a categorical")
@pytest.mark.parametrize("wild", WILD)
def test_no_name_and_no_value_leaves_its_place_in_the_note(wild: str) -> None:
    tame = _note_of("relu", "act")
    blocks, spans = _blocks_and_spans(tame)
    assert spans == ["act", "relu"]
    note = _note_of(value=wild, name=wild)
    assert note.count(BEGIN) == note.count(END) == 1
    wild_blocks, wild_spans = _blocks_and_spans(note)
    assert wild_blocks == blocks
    assert "<img" not in MarkdownIt("commonmark").render(note)
    if "[lrss:" not in wild:
        written = "".join(c if c.isprintable() else repr(c)[1:-1] for c in wild) or '""'
        assert wild_spans == [written, written]


def test_a_deleted_closing_fence_costs_no_text() -> None:
    merged = merge_note(f"mine\n\n{BEGIN}\n\nstale section\n\nmine too", "new")
    assert merged.startswith("mine")
    assert "mine too" in merged
    assert merged.count(BEGIN) == merged.count(END) == 1
    assert merged.index("mine too") < merged.index(BEGIN)


def test_figure_is_the_same_curve_and_drawn_for_both_themes() -> None:
    study = _new_study()
    study.optimize(_objective)
    publish(study)
    figure = _figure(study)
    shown = [t for t in figure["data"] if t.get("name") in ("short trial", "diverged or beyond")]
    assert sorted(x for t in shown for x in t["x"]) == sorted(t.params["lr"] for t in study.trials)
    assert figure["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"
    assert len(json.dumps(figure)) < 25_000


# --- As a callback ---


def _count_publications(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    counted: list[int] = []
    real = optuna_dashboard.save_plotly_graph_object

    def save(study: optuna.Study, figure: Any, **options: Any) -> str:
        counted.append(len(study.trials))
        return str(real(study, figure, **options))

    monkeypatch.setattr(optuna_dashboard, "save_plotly_graph_object", save)
    return counted


def _clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [1e9]
    monkeypatch.setattr(dashboard.time, "time", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_callback_publishes_at_a_bounded_rate_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published, advance = _count_publications(monkeypatch), _clock(monkeypatch)

    def objective(trial: optuna.Trial) -> float:
        advance(3.0)
        return _objective(trial)

    study = _new_study()
    study.optimize(objective, callbacks=[publish])
    # the first trial, then every fourth (12 s), and the last, after which the search stops itself
    assert published == [1, 5, 9, 13, len(study.trials)]
    assert study.user_attrs["lrss:status"] == "resolved"


def test_rate_holds_for_all_workers_of_a_study(
    sqlite: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, advance = _count_publications(monkeypatch), _clock(monkeypatch)
    study = _new_study(sqlite)
    study.optimize(_objective, n_trials=2, callbacks=[publish])
    other = optuna.load_study(study_name="resnet18", storage=sqlite, sampler=LRStepSampler())
    other.optimize(_objective, n_trials=2, callbacks=[publish])
    assert published == [1]
    advance(10.0)
    other.optimize(_objective, n_trials=1, callbacks=[publish])
    assert published == [1, 5]


def test_interval_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    published = _count_publications(monkeypatch)
    _new_study().optimize(_objective, n_trials=3, callbacks=[partial(publish, min_interval=0.0)])
    assert published == [1, 2, 3]
    with pytest.raises(ValueError, match="min_interval=-1"):
        publish(_new_study(), min_interval=-1.0)


def test_threads_do_not_wait_for_one_that_publishes() -> None:
    study = _new_study()
    study.optimize(_objective, n_trials=1)
    with dashboard._one_at_a_time:
        publish(study, study.trials[0])
    assert "lrss:status" not in study.user_attrs


# --- Columns of the trial table ---


def _columns(study: optuna.Study) -> dict[str, bool]:
    """Columns of the dashboard's trial table, and whether they are sortable."""
    detail = _get(study, f"/api/studies/{study._study_id}?after=0")
    return {c["key"]: c["sortable"] for c in detail["union_user_attrs"]}


def _get(study: optuna.Study, path: str) -> Any:
    """A JSON answer of optuna-dashboard, without a server."""
    status: list[str] = []
    path, _, query = path.partition("?")
    environ = {"PATH_INFO": path, "QUERY_STRING": query}
    setup_testing_defaults(environ)

    def start(line: str, *_: Any) -> None:
        status.append(line)

    body = b"".join(optuna_dashboard.wsgi(study._storage)(environ, start))
    assert status == ["200 OK"], body
    return json.loads(body)


def test_columns_sort_by_divergence_and_steps() -> None:
    def objective(trial: optuna.Trial) -> float:
        loss = _objective(trial)
        trial.set_user_attr(
            "lrss:trial", {"steps": 20 if math.isfinite(loss) else 7, "diverged": loss == math.inf}
        )
        return loss

    study = _new_study()
    study.enqueue_trial({"lr": 10.0})
    study.optimize(with_columns(objective))
    columns = _columns(study)
    assert columns["lrss:diverged"] is True
    assert columns["lrss:steps"] is True
    assert columns["lrss:role"] is False
    for trial in study.trials:
        diverged = trial.value == math.inf
        assert trial.user_attrs["lrss:diverged"] == int(diverged)
        assert trial.user_attrs["lrss:steps"] == (7 if diverged else 20)
        claim = trial.system_attrs.get("lrss:claim", {})
        assert trial.user_attrs.get("lrss:role") == claim.get("role")
    assert study.trials[0].user_attrs["lrss:diverged"] == 1


def test_columns_of_objectives_that_say_nothing_and_of_pruned_trials() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = cases.suggest_x(trial)
        trial.report(5.0, 3)
        if trial.number == 1:
            raise optuna.TrialPruned
        return cases.loss_at(x)

    study = _new_study()
    study.optimize(with_columns(objective), n_trials=3)
    first, second, _ = study.trials
    assert first.user_attrs["lrss:diverged"] == 0
    assert "lrss:steps" not in first.user_attrs
    assert second.state == optuna.trial.TrialState.PRUNED
    assert "lrss:diverged" not in second.user_attrs  # any pruner may have stopped it
    assert second.user_attrs["lrss:role"] == "coarse"


# --- The dashboard's answers ---


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_dashboard_answers_with_figure_note_and_summary(kind: str, tmp_path: Path) -> None:
    storage: Any = RDBStorage(f"sqlite:///{tmp_path}/lr.db")
    if kind == "journal":
        storage = JournalStorage(JournalFileBackend(str(tmp_path / "lr.log")))
    study = _new_study(storage)
    study.optimize(_objective, n_trials=8)
    publish(study)
    detail = _get(study, f"/api/studies/{study._study_id}?after=0")
    (graph,) = detail["plotly_graph_objects"]
    assert graph["id"] == FIGURE_ID
    assert json.loads(graph["graph_object"]) == _figure(study)
    assert "## Learning rate" in detail["note"]["body"]
    assert "lrss:recommended" in {a["key"] for a in detail["user_attrs"]}
    if kind == "sqlite":
        storage.remove_session()
        storage.engine.dispose()


# --- In a browser ---


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Requests are no news."""


@contextmanager
def _served(storage: Any) -> Iterator[str]:
    """optuna-dashboard, running in a thread; its address."""
    server = make_server("127.0.0.1", 0, optuna_dashboard.wsgi(storage), handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of our own in a temporary folder; the URL of its database."""
    if POSTGRES is None:
        pytest.skip("no PostgreSQL server under /usr/lib/postgresql (apt-get install postgresql)")
    pytest.importorskip("psycopg2")
    folder = Path(mkdtemp(prefix="lrss-postgres-", dir="/tmp"))
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    run = partial(subprocess.run, check=True, capture_output=True, cwd=folder, **as_user)
    run([POSTGRES, "-D", folder / "data", "-U", "lrss", "-A", "trust", "--no-sync"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-c", "fsync=off"]
    server = subprocess.Popen(
        # Should pytest be killed, nobody terminates the server: it ends by itself.
        ["timeout", "300", POSTGRES.with_name("postgres"), "-D", folder / "data", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **as_user,
    )
    try:
        ready = [POSTGRES.with_name("pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
        deadline = time.monotonic() + 30.0
        while subprocess.run(ready, check=False).returncode != 0:
            assert server.poll() is None, "PostgreSQL did not start"
            assert time.monotonic() < deadline, "PostgreSQL is not ready after 30 s"
            time.sleep(0.1)
        yield f"postgresql+psycopg2://lrss@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgres"])
def shared_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RDBStorage]:
    sqlite_url = f"sqlite:///{tmp_path}/lr.db"
    url = sqlite_url if request.param == "sqlite" else request.getfixturevalue("postgres")
    storage = RDBStorage(url)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def _keep(page: Any, name: str) -> None:
    folder = os.environ.get("LRSS_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / name)


def test_browser_shows_curve_note_and_columns(
    browser: Any, shared_storage: RDBStorage, request: pytest.FixtureRequest
) -> None:
    study = _new_study(shared_storage)
    optuna_dashboard.save_note(study, USER_NOTE)
    study.optimize(with_columns(_objective), callbacks=[publish])
    kind = request.node.callspec.params["shared_storage"]
    problems: list[str] = []
    with _served(shared_storage) as url:
        context = browser.new_context(viewport={"width": 1280, "height": 760})
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        at = f"{url}/dashboard/studies/{study._study_id}"
        page.goto(at)
        figure = page.locator(f'[id="user-defined-plot:{FIGURE_ID}"]')
        figure.locator(".scatterlayer .trace path.js-line").first.wait_for(state="attached")
        _check_figure(figure, study)
        figure.evaluate("e => e.scrollIntoView({block: 'center'})")
        if kind == "sqlite":
            _keep(page, "dashboard.png")
        page.goto(f"{at}/note")
        _check_note(page, study)
        _keep(page, f"note-{kind}.png")
        page.goto(f"{at}/smartSelection")  # the page that has the table of trials
        page.get_by_text("UserAttribute lrss:diverged").first.wait_for()
        assert page.get_by_role("cell", name="coarse", exact=True).count() > 0
        _keep(page, f"table-{kind}.png")
        context.close()
    assert problems == []


def _check_figure(figure: Any, study: optuna.Study) -> None:
    title = figure.locator(".gtitle").text_content()
    assert title.startswith("Learning-rate curve")
    assert f"{len(study.trials)} short trials" in title
    legend = figure.locator(".legendtext").all_text_contents()
    result = analyze(study)
    for label, lr in (("recommended", result.recommended), ("max_lr", result.max_lr)):
        assert f"{label} {lr:.3g}" in legend
    # window, baseline and seven vertical lines
    assert figure.locator(".shapelayer path").count() == 9
    dots = figure.locator(".scatterlayer .points path.point").count()
    assert dots == len(study.trials) + 7


def _check_note(page: Any, study: optuna.Study) -> None:
    page.get_by_role("heading", name="Learning rate", exact=True).wait_for()
    assert page.get_by_role("heading", name="My notes", exact=True).count() == 1
    rows = page.locator("table tbody tr")
    assert rows.count() == 7
    assert rows.first.locator("td").nth(1).text_content() == f"{analyze(study).recommended:.3g}"
    assert "lrss:begin" not in page.locator("body").inner_text()
