"""The command line, as a shell sees it: output, errors, exit status."""

from __future__ import annotations

import csv
import importlib
import io
import json
import logging
import math
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from typer.testing import CliRunner
from typer.testing import Result

from optuna_lrss import LRAnalysis
from optuna_lrss import LRStepSampler
from optuna_lrss import analyze
from optuna_lrss import cli
from optuna_lrss._storages import passwords
from tests.visualization import cases


ROOT = Path(__file__).parents[1]
SECRET = "p@ss/wo:rd%41"
#: The same as it stands in a URL.
ESCAPED = "p%40ss%2Fwo%3Ard%2541"


@pytest.fixture(autouse=True)
def _clean_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    verbosity = optuna.logging.get_verbosity()
    cli._secrets.clear()
    yield
    optuna.logging.set_verbosity(verbosity)


def _run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli.app, arguments, env=env, catch_exceptions=False)


def _write(study: optuna.Study, name: str, storage: str = "sqlite:///lr.db") -> str:
    """Copies a study into a database; returns the storage's URL."""
    copy = optuna.create_study(storage=storage, study_name=name, direction=study.direction)
    for key, value in study.user_attrs.items():
        copy.set_user_attr(key, value)
    copy.add_trials(study.trials)
    return storage


def _result(url: str, name: str) -> LRAnalysis:
    return analyze(optuna.load_study(study_name=name, storage=url))


# --- analyze ---


def test_analyze_prints_the_report_within_80_columns() -> None:
    url = _write(cases.with_horizons(), "resnet18")
    done = _run("analyze", "--storage", url, "--study-name", "resnet18")
    assert done.exit_code == 0
    assert done.stdout == str(_result(url, "resnet18")) + "\n"
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stderr == ""


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_json_and_yaml_on_stdout_are_the_analysis_and_nothing_else(form: str, read) -> None:
    url = _write(cases.plain(), "resnet18")
    done = _run("analyze", "--storage", url, "-f", form)
    assert done.exit_code == 0
    again = LRAnalysis.from_dict(read(done.stdout))
    assert again.to_json() == _result(url, "resnet18").to_json()


def test_storage_may_come_from_the_environment_as_optuna_s() -> None:
    url = _write(cases.plain(), "resnet18")
    done = _run("analyze", "-f", "json", env={"OPTUNA_STORAGE": url})
    assert json.loads(done.stdout)["n_trials"] == 14


@pytest.mark.parametrize("form", ["table", "json", "yaml"])
def test_no_window_is_status_1_with_the_reason_on_stderr(form: str) -> None:
    url = _write(cases.nothing_learns(), "flat")
    done = _run("analyze", "--storage", url, "-f", form)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert "No viable window: Nothing learns" in done.stderr


@pytest.mark.parametrize("path", ["lr.log", "redis.log"])
def test_works_on_studies_of_other_samplers_and_journal_files(path: str) -> None:
    storage = JournalStorage(JournalFileBackend(path))
    _write(cases.random_search(), "random", storage)  # type: ignore[arg-type]
    done = _run("analyze", "--storage", path, "-f", "json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)["half_loss"]
    assert math.log10(found) == pytest.approx(cases.CENTRE, abs=0.15)
    codes = {d["code"] for d in json.loads(done.stdout)["diagnostics"]}
    assert "no-baseline" in codes


def test_options_reach_the_analysis() -> None:
    url = _write(cases.with_horizons(), "resnet18")
    study = optuna.load_study(study_name="resnet18", storage=url)
    done = _run(
        "analyze", "--storage", url, "-f", "json", "--step", "10", "--baseline", "2.4",
        "--momentum", "0.9",
    )  # fmt: skip
    expected = analyze(study, step=10, baseline=2.4, momentum=0.9)
    assert done.stdout == expected.to_json(indent=2) + "\n"


def test_configuration_is_chosen_by_its_values() -> None:
    url = _write(cases.with_configurations(), "widths")
    done = _run("analyze", "--storage", url, "-f", "json", "-c", "width=64")
    assert json.loads(done.stdout)["configuration"] == {"width": 64}
    assert _run("analyze", "--storage", url, "-c", "width=5").exit_code == 2
    wrong = _run("analyze", "--storage", url, "-c", "width")
    assert wrong.exit_code == 2
    assert "NAME=VALUE" in wrong.stderr


# --- Wrong usage ---


def test_unknown_study_is_status_2_and_names_the_known_ones() -> None:
    url = _write(cases.plain(), "resnet18")
    _write(cases.plain(), "bert")
    for arguments in ((), ("--study-name", "resnet")):
        done = _run("analyze", "--storage", url, *arguments)
        assert done.exit_code == 2
        assert "bert, resnet18" in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///nowhere.db",
        "nowhere.log",
        "nonsense://host/lr",
        "postgresql+psycopg2://127.0.0.1:1/lr",
        "mysql+nonsense://127.0.0.1/lr",
        "redis://127.0.0.1:1/0",
    ],
)
def test_bad_storage_is_status_2_and_leaves_nothing_behind(url: str) -> None:
    done = _run("analyze", "--storage", url)
    assert done.exit_code == 2
    assert done.stderr.startswith("optuna-lrss: ")
    assert done.stderr.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_redis_that_refuses_is_status_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples" / "benchmarks")
    servers = importlib.import_module("servers")
    if servers.redis_binary() is None:
        pytest.skip("Redis is not installed (apt-get install redis-server)")
    with servers.redis() as open_url:
        client = importlib.import_module("redis").Redis.from_url(open_url)
        client.config_set("requirepass", "another")
        client.close()
        for url in (open_url, open_url.replace("//", f"//:{ESCAPED}@")):
            done = _run("analyze", "--storage", url)
            assert done.exit_code == 2
            assert done.stderr.startswith("optuna-lrss: The storage cannot be read: ")
            assert done.stderr.count("\n") == 1
            assert ESCAPED not in done.stderr


@pytest.mark.parametrize("absolute", [False, True])
def test_an_sqlite_database_may_be_given_as_a_path(absolute: bool) -> None:
    url = _write(cases.plain(), "resnet18")
    path = str(Path("lr.db").resolve()) if absolute else "lr.db"
    done = _run("analyze", "--storage", path)
    assert done.exit_code == 0
    assert done.stdout == str(_result(url, "resnet18")) + "\n"


@pytest.mark.parametrize("content", [b"\x80\x81 no text\n", b"[1, 2]\n", b'{"a": 1}\n'])
def test_a_file_of_another_kind_is_named_as_such(content: bytes) -> None:
    Path("lr.log").write_bytes(content)
    done = _run("analyze", "--storage", "lr.log")
    assert done.exit_code == 2
    assert "neither a journal nor an SQLite database" in done.stderr
    assert Path("lr.log").read_bytes() == content


def test_reading_a_foreign_database_makes_no_tables() -> None:
    import sqlite3

    with sqlite3.connect("other.db") as database:
        database.execute("create table mine (x)")
    database.close()
    assert _run("analyze", "--storage", "sqlite:///other.db").exit_code == 2
    with sqlite3.connect("other.db") as database:
        tables = database.execute("select name from sqlite_master").fetchall()
    database.close()
    assert tables == [("mine",)]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("analyze",),
        ("analyse",),
        ("analyze", "--storage", "x", "-f", "xml"),
        ("plot", "--dim"),
    ],
)
def test_typos_are_status_2(arguments: tuple[str, ...]) -> None:
    assert _run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["", "analyze", "plot", "publish", "export", "demo"])
def test_help_fits_80_columns(command: str) -> None:
    done = _run(*command.split(), "--help", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80


# --- Passwords ---


@pytest.mark.parametrize("password", [SECRET, ESCAPED], ids=["raw", "escaped"])
@pytest.mark.parametrize("command", ["analyze", "plot", "publish", "export", "demo"])
def test_passwords_are_never_printed_or_logged(
    command: str, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql+psycopg2://me:{password}@127.0.0.1:1/lr"
    with caplog.at_level(logging.DEBUG):
        done = _run(command, "--storage", url)
    assert done.exit_code == 2
    said = done.stdout + done.stderr + caplog.text
    assert said
    assert not any(secret in said for secret in (SECRET, ESCAPED, password))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:me:{}@host/lr",
        "postgresql:/me:{}@host/lr",
        "postgresql+psycopg2:me:{}@host:5432/lr",
        "redis::{}@host/0",
        "me:{}@host/lr",
        "postgresql:host/lr?password={}",
    ],
)
@pytest.mark.parametrize("password", [SECRET, ESCAPED, "plain"])
def test_passwords_of_mistyped_urls_are_not_printed(url: str, password: str) -> None:
    done = _run("analyze", "--storage", url.format(password))
    assert done.exit_code == 2
    assert "***" in done.stderr
    assert not any(secret in done.stderr for secret in (password, SECRET, ESCAPED))


def test_passwords_are_not_in_tracebacks() -> None:
    """An unforeseen error that carries the URL, in a process of its own."""
    code = (
        "import sys\nfrom optuna_lrss import cli\n"
        "def broken(url, *a, **k): raise RuntimeError(f'cannot do {url}')\n"
        "cli.open_storage = broken\ncli.main()"
    )
    url = f"postgresql://me:{ESCAPED}@db/lr"
    for arguments, env in ((["--storage", url], {}), ([], {"OPTUNA_STORAGE": url})):
        done = subprocess.run(
            [sys.executable, "-c", code, "analyze", *arguments],
            capture_output=True, text=True, env={**os.environ, **env}, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "RuntimeError: cannot do postgresql://me:***@db/lr" in done.stderr
        assert ESCAPED not in done.stdout + done.stderr


def test_passwords_are_not_stored_and_not_shown_where_all_goes_well() -> None:
    """SQLite ignores a password in a URI, so what is written with one can be read back."""
    _write(cases.plain(), "resnet18")
    path = Path("lr.db").resolve()
    url = f"sqlite:///file:{path}?uri=true&password={ESCAPED}"
    done = _run("publish", "--storage", url)
    assert done.exit_code == 0
    written = path.read_bytes()
    assert b"lrss:recommended" in written
    done = _run("demo", "--storage", url)
    assert "password=***" in done.stdout
    for secret in (SECRET, ESCAPED):
        assert secret.encode() not in written
        assert secret not in done.stdout + done.stderr


def test_only_a_password_counts_as_one() -> None:
    assert passwords("sqlite:////data/lr.db") == set()
    assert passwords("postgresql://me@host:5432/lr") == set()
    assert passwords("lr.log") == set()
    assert passwords("redis.log") == set()
    assert passwords("runs/me@home/lr.log") == set()
    assert passwords(f"postgresql://me:{ESCAPED}@host/lr") == {ESCAPED, SECRET}
    assert passwords(f"postgresql:///lr?sslmode=no&password={ESCAPED}") == {ESCAPED, SECRET}


# --- plot, export, publish, demo ---

KINDS = ("curve", "curvature", "refinement", "horizons", "configurations")


@pytest.mark.parametrize("kind", KINDS)
def test_plot_writes_what_the_ending_says(kind: str) -> None:
    url = _write(cases.with_horizons(), "resnet18")
    signature = {"json": b"{", "png": b"\x89PNG"}
    if kind == "curve":
        signature |= {"svg": b"<?xml", "pdf": b"%PDF"}
    for ending, first in signature.items():
        done = _run("plot", "--storage", url, "-k", kind, "-o", f"lr.{ending}", "--dark")
        assert done.exit_code == 0
        assert done.stdout == ""
        assert Path(f"lr.{ending}").read_bytes().startswith(first)
    assert json.loads(Path("lr.json").read_text())["data"]


def test_plot_html_needs_no_network() -> None:
    url = _write(cases.plain(), "resnet18")
    assert _run("plot", "--storage", url).exit_code == 0
    page = Path("lr.html").read_text(encoding="utf-8")
    assert re.search(r'<script[^>]+src="http', page) is None
    assert "Learning-rate curve" in page


def test_plot_without_window_draws_and_says_so() -> None:
    url = _write(cases.nothing_learns(), "flat")
    done = _run("plot", "--storage", url, "-o", "flat.png")
    assert done.exit_code == 1
    assert "Nothing learns" in done.stderr
    assert Path("flat.png").stat().st_size > 0


def test_plot_refuses_an_unknown_ending_before_it_writes() -> None:
    url = _write(cases.plain(), "resnet18")
    done = _run("plot", "--storage", url, "-o", "lr.docx")
    assert done.exit_code == 2
    assert ".html" in done.stderr
    assert not Path("lr.docx").exists()


def test_export_is_the_analysis_and_its_tables() -> None:
    url = _write(cases.noisy(), "resnet18")
    result = _result(url, "resnet18")
    done = _run("export", "--storage", url)
    assert LRAnalysis.from_json(done.stdout).to_json() == result.to_json()

    def rows(kind: str) -> list[list[str]]:
        text = _run("export", "--storage", url, "-f", "csv", "--rows", kind).stdout
        return list(csv.reader(io.StringIO(text)))[1:]

    assert [float(r[0]) for r in rows("curve")] == result.curve.lr.tolist()
    assert [float(r[1]) for r in rows("curve")] == result.curve.loss.tolist()
    assert [(int(n), float(lr), float(y)) for n, lr, y in rows("trials")] == list(result.trials)
    points = {r[0]: tuple(map(float, r[1:])) for r in rows("points")}
    assert points["recommended"] == (result.recommended, *result.intervals["recommended"])


def test_export_to_a_file_leaves_stdout_empty() -> None:
    url = _write(cases.plain(), "resnet18")
    done = _run("export", "--storage", url, "-f", "csv", "-o", "lr.csv")
    assert done.stdout == ""
    assert Path("lr.csv").read_bytes().startswith(b"lr,loss,stderr,count\r\n")


def test_publish_puts_the_picks_into_the_study() -> None:
    pytest.importorskip("optuna_dashboard")
    url = _write(cases.plain(), "resnet18")
    assert _run("publish", "--storage", url).exit_code == 0
    study = optuna.load_study(study_name="resnet18", storage=url)
    assert study.user_attrs["lrss:recommended"] == _result(url, "resnet18").recommended
    _write(cases.nothing_learns(), "flat")
    done = _run("publish", "--storage", url, "--study-name", "flat")
    assert done.exit_code == 1
    flat = optuna.load_study(study_name="flat", storage=url)
    assert flat.user_attrs["lrss:status"] == "no viable window"


def test_demo_searches_keeps_and_resumes() -> None:
    first = _run("demo", "--storage", "sqlite:///demo.db")
    assert first.exit_code == 0
    assert "viable window" in first.stdout
    assert max(map(len, first.stdout.splitlines())) <= 80
    study = optuna.load_study(study_name="demo", storage="sqlite:///demo.db")
    n_trials = len(study.trials)
    assert first.stdout.count("  trial ") == n_trials
    assert LRStepSampler().is_resolved(study)
    again = _run("demo", "--storage", "sqlite:///demo.db")
    assert again.stdout.count("  trial ") == 0
    assert str(_result("sqlite:///demo.db", "demo")) in again.stdout
    # the commands that it ends with
    commands = re.findall(r"^  optuna-lrss (.+)$", again.stdout, re.MULTILINE)
    assert [_run(*shlex.split(c)).exit_code for c in commands] == [0, 0]


def _interrupted_demo() -> tuple[int, str]:
    """Exit status and stderr of a demo that is interrupted after its first trial."""
    # What a shell starts in the background ignores interrupts, unless it says otherwise.
    listening = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('optuna_lrss.cli', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-u", "-c", listening, "demo", "--storage", "sqlite:///demo.db"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("  trial  0"):
                running.send_signal(signal.SIGINT)
                break
        _, errors = running.communicate()
    return running.returncode, errors


def test_ctrl_c_leaves_a_study_that_resumes() -> None:
    for _ in range(5):  # a busy machine may deliver the interrupt when the search is over
        Path("demo.db").unlink(missing_ok=True)
        status, errors = _interrupted_demo()
        if status != 0:
            break
    assert status == 130  # as a shell reports an interrupt; 1 would mean no window
    assert "Traceback" not in errors
    begun = optuna.load_study(study_name="demo", storage="sqlite:///demo.db")
    n_begun = len(begun.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))
    resumed = _run("demo", "--storage", "sqlite:///demo.db")
    assert resumed.exit_code == 0
    study = optuna.load_study(study_name="demo", storage="sqlite:///demo.db")
    finished = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    assert resumed.stdout.count("  trial ") == len(finished) - n_begun
    assert LRStepSampler().is_resolved(study)


# --- The shell ---


def test_console_script_is_the_app() -> None:
    """Through a real process: stdout holds JSON alone, even with Optuna's log on."""
    url = _write(cases.plain(), "resnet18")
    done = subprocess.run(
        [sys.executable, "-m", "optuna_lrss.cli", "analyze", "--storage", url, "-f", "json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["param_name"] == "lr"
    assert done.stderr == ""


def test_starting_the_command_loads_no_heavy_library() -> None:
    code = (
        "import sys, optuna_lrss.cli\n"
        "print([m for m in ('torch', 'plotly', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_typer_names_the_extra() -> None:
    code = "import sys; sys.modules['typer'] = None; import optuna_lrss.cli"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "optuna-lrss needs its cli extra: pip install 'optuna-lrss[cli]'"


def test_commands_of_the_documentation_work() -> None:
    """Every line of the page that starts with $ optuna-lrss."""
    page = ROOT / "docs" / "guide" / "command-line.md"
    commands = re.findall(r"^\$ optuna-lrss (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        command = command.replace("--study-name resnet18", "--study-name demo")
        done = _run(*shlex.split(command.partition(" > ")[0]))
        assert done.exit_code == 0, (command, done.stderr)
