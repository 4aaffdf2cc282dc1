"""The command ``optuna-lrss``: analyse, draw, publish and export the studies of a storage.

Exit status: 0; 1 if the study has no viable window, with the reason on standard error; 2 for
wrong usage, an unknown study or a storage that cannot be read. Passwords in storage URLs are
never printed.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any

import optuna

from optuna_lrss._method.points import NoWindowError
from optuna_lrss._result.analysis import analyze as analyze_study
from optuna_lrss._result.lr_analysis import LRAnalysis
from optuna_lrss._storages import UsageError
from optuna_lrss._storages import open_storage
from optuna_lrss._storages import passwords
from optuna_lrss._storages import storage_errors


try:
    import typer
except ImportError as error:  # the console script exists with or without the extra
    raise SystemExit("optuna-lrss needs its cli extra: pip install 'optuna-lrss[cli]'") from error


if TYPE_CHECKING:
    from optuna.study import Study


NO_WINDOW = 1
USAGE = 2

app = typer.Typer(
    help="Learning rates from short trials: read the studies of an Optuna storage.",
    epilog="Exit status: 0, 1 if there is no viable window, 2 for wrong usage.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


class Format(StrEnum):
    """How an analysis is printed."""

    table = "table"
    json = "json"
    yaml = "yaml"


class Kind(StrEnum):
    """Which plot."""

    curve = "curve"
    curvature = "curvature"
    refinement = "refinement"
    horizons = "horizons"
    configurations = "configurations"


class Export(StrEnum):
    """What to export as."""

    json = "json"
    csv = "csv"


class Rows(StrEnum):
    """What the rows of a CSV export are."""

    curve = "curve"
    trials = "trials"
    points = "points"


StorageOption = Annotated[
    str,
    typer.Option(
        envvar="OPTUNA_STORAGE",
        help="Storage URL, or the path of a journal file or SQLite database.",
        metavar="URL",
        show_default=False,
    ),
]
StudyOption = Annotated[
    str | None,
    typer.Option(help="Study; may be left out if the storage has only one.", metavar="NAME"),
]
ParamOption = Annotated[str, typer.Option(help="Name of the learning rate.", metavar="NAME")]
ConfigurationOption = Annotated[
    list[str] | None,
    typer.Option(
        "--configuration",
        "-c",
        help="Value of another parameter, such as -c width=64; repeat for more. Default: the "
        "configuration with the lowest loss.",
        metavar="NAME=VALUE",
    ),
]
StepOption = Annotated[
    int | None, typer.Option(help="Use the losses reported at this step.", metavar="N")
]
BaselineOption = Annotated[
    float | None,
    typer.Option(help="Loss of the untrained model. Default: as stored.", metavar="LOSS"),
]
StepsOption = Annotated[
    int | None, typer.Option(help="Steps of a short trial. Default: as stored.", metavar="N")
]
MomentumOption = Annotated[
    float | None,
    typer.Option(help="Momentum of SGD, 0 for Adam. Default: as stored.", metavar="BETA"),
]


@app.command()
def analyze(
    storage: StorageOption,
    study_name: StudyOption = None,
    output_format: Annotated[
        Format, typer.Option("--format", "-f", help="How to print the result.")
    ] = Format.table,
    param_name: ParamOption = "lr",
    configuration: ConfigurationOption = None,
    step: StepOption = None,
    baseline: BaselineOption = None,
    steps: StepsOption = None,
    momentum: MomentumOption = None,
) -> None:
    """Print the viable window and the picks of a study, whoever sampled it."""
    with _errors(storage):
        result = analyze_study(
            _load(storage, study_name),
            param_name=param_name,
            configuration=_configuration(configuration),
            step=step,
            baseline=baseline,
            steps=steps,
            momentum=momentum,
        )
        typer.echo(_formatted(result, output_format))


@app.command()
def plot(
    storage: StorageOption,
    study_name: StudyOption = None,
    kind: Annotated[Kind, typer.Option("--kind", "-k", help="What to draw.")] = Kind.curve,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="File; .html and .json by plotly, others by matplotlib."
        ),
    ] = Path("lr.html"),
    dark: Annotated[bool, typer.Option("--dark", help="For a dark page.")] = False,
    param_name: ParamOption = "lr",
    configuration: ConfigurationOption = None,
) -> None:
    """Draw a study into a file: HTML, JSON, PNG, SVG or PDF."""
    with _errors(storage):
        study = _load(storage, study_name)
        options: dict[str, Any] = {"param_name": param_name}
        if kind is not Kind.configurations:
            options["configuration"] = _configuration(configuration)
        elif configuration:
            raise UsageError("--configuration: the plot shows all configurations; leave it out.")
        if output.suffix.lower() in (".html", ".json"):
            _plot_by_plotly(study, kind, output, dark, options)
        else:
            _plot_by_matplotlib(study, kind, output, dark, options)
        typer.echo(f"The {kind} plot is in {output}.", err=True)
        # Where there is no window a plot shows why; the exit status says it too.
        analyze_study(study, param_name=param_name, configuration=_configuration(configuration))


@app.command()
def publish(
    storage: StorageOption,
    study_name: StudyOption = None,
    param_name: ParamOption = "lr",
) -> None:
    """Put figure, note and picks into the study, for optuna-dashboard."""
    from optuna_lrss.dashboard import publish as publish_study

    with _errors(storage):
        study = _load(storage, study_name)
        publish_study(study, param_name=param_name)
        typer.echo(f"Published study {study.study_name!r}.", err=True)
        analyze_study(study, param_name=param_name)


@app.command()
def export(
    storage: StorageOption,
    study_name: StudyOption = None,
    output_format: Annotated[
        Export, typer.Option("--format", "-f", help="All as JSON, or one table as CSV.")
    ] = Export.json,
    rows: Annotated[Rows, typer.Option(help="What the rows of the CSV are.")] = Rows.curve,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; default standard output.")
    ] = None,
    param_name: ParamOption = "lr",
    configuration: ConfigurationOption = None,
) -> None:
    """Write the analysis as JSON or CSV, for other programs."""
    with _errors(storage):
        result = analyze_study(
            _load(storage, study_name),
            param_name=param_name,
            configuration=_configuration(configuration),
        )
        csv_wanted = output_format is Export.csv
        text = _as_csv(result, rows) if csv_wanted else result.to_json(indent=2) + "\n"
        if output is None:
            typer.echo(text, nl=False)
        else:
            output.write_text(text, encoding="utf-8", newline="")


@app.command()
def demo(
    storage: Annotated[
        str | None,
        typer.Option(
            help="Keep the study here, such as sqlite:///demo.db; default in memory.",
            metavar="URL",
        ),
    ] = None,
    study_name: Annotated[str, typer.Option(help="Name of the study.", metavar="NAME")] = "demo",
) -> None:
    """Search the learning rate of a small network, in seconds."""
    from optuna_lrss._demo import run_demo

    with _errors(storage or ""):
        opened = None if storage is None else open_storage(storage, create=True)
        result = run_demo(opened, study_name, typer.echo)
        typer.echo("")
        typer.echo(str(result))
        if storage is not None:
            typer.echo(f"\nKept as study {study_name!r}. Look at it again with")
            where = f"--storage {_redacted(storage)} --study-name {study_name}"
            typer.echo(f"  optuna-lrss analyze {where}")
            typer.echo(f"  optuna-lrss plot {where} -o lr.html")


def main() -> None:
    """Entry point of the console script."""
    sys.excepthook = _quiet_excepthook
    typer.main.get_command(app)()  # app() itself would put a hook of its own in its place


# --- Output -------------------------------------------------------------------------------------


def _formatted(result: LRAnalysis, output_format: Format) -> str:
    if output_format is Format.table:
        return str(result)
    if output_format is Format.json:
        return result.to_json(indent=2)
    try:
        import yaml
    except ImportError as error:
        raise UsageError("--format yaml needs PyYAML: pip install 'optuna-lrss[cli]'.") from error
    text: str = yaml.safe_dump(json.loads(result.to_json()), sort_keys=False)
    return text.rstrip("\n")


def _as_csv(result: LRAnalysis, rows: Rows) -> str:
    out = io.StringIO()
    write = csv.writer(out).writerow
    if rows is Rows.curve:
        write(("lr", "loss", "stderr", "count"))
        curve = result.curve
        for row in zip(curve.lr, curve.loss, curve.stderr, curve.count, strict=True):
            write([*map(float, row[:3]), int(row[3])])
    elif rows is Rows.trials:
        write(("number", "lr", "loss"))
        for trial in result.trials:
            write(trial)
    else:
        write(("point", "lr", "low", "high"))
        for name, (low, high) in result.intervals.items():
            write((name, getattr(result, name), low, high))
    return out.getvalue()


def _plot_by_plotly(
    study: Study, kind: Kind, output: Path, dark: bool, options: dict[str, Any]
) -> None:
    from optuna_lrss import visualization
    from optuna_lrss.visualization._plotly import write_page

    figure = getattr(visualization, f"plot_lr_{kind}")(study, **options)
    if dark:
        figure.update_layout(template="plotly_dark")
    if output.suffix.lower() == ".json":
        output.write_text(figure.to_json(), encoding="utf-8")
    else:
        write_page(figure, output)


def _plot_by_matplotlib(
    study: Study, kind: Kind, output: Path, dark: bool, options: dict[str, Any]
) -> None:
    import matplotlib as mpl
    import numpy as np

    mpl.use("agg")
    import matplotlib.pyplot as plt

    from optuna_lrss.visualization import matplotlib as visualization

    if output.suffix.lower().lstrip(".") not in plt.figure().canvas.get_supported_filetypes():
        raise UsageError(
            f"--output {output}: the ending must be .html, .json, .png, .svg or .pdf."
        )
    with plt.style.context("dark_background" if dark else "default"):
        axes = getattr(visualization, f"plot_lr_{kind}")(study, **options)
        np.ravel(axes)[0].figure.savefig(output, dpi=150)
    plt.close("all")


# --- Studies ---


def _load(storage: str, study_name: str | None) -> Study:
    """The named study, or the only one.

    Raises:
        UsageError: If there is no such study, or several and no name.
    """
    opened = open_storage(storage)
    names = sorted(optuna.get_all_study_names(opened))
    known = "the storage has no study" if not names else "there are " + ", ".join(names[:10])
    known += ", ..." if len(names) > 10 else ""
    if study_name is None and len(names) == 1:
        study_name = names[0]
    if study_name is None:
        raise UsageError(f"--study-name is missing: {known}.")
    if study_name not in names:
        raise UsageError(f"--study-name {study_name!r} is unknown: {known}.")
    return optuna.load_study(study_name=study_name, storage=opened)


def _configuration(pairs: list[str] | None) -> dict[str, Any] | None:
    """``["width=64", "name=relu"]`` as ``{"width": 64, "name": "relu"}``, by JSON or as text."""
    if not pairs:
        return None
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--configuration {pair!r} must be NAME=VALUE, such as width=64.")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    return values


# --- Errors, and what must not be in them ---

_secrets: set[str] = set()


@contextmanager
def _errors(storage: str) -> Iterator[None]:
    """Turns what can go wrong into an exit status and one line without passwords."""
    _secrets.update(passwords(storage))
    logging.getLogger("optuna_lrss").addHandler(logging.NullHandler())  # reasons come as errors
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    except NoWindowError as error:
        raise _exit(NO_WINDOW, f"No viable window: {error}") from None
    except (UsageError, ValueError, ImportError, OSError) as error:
        raise _exit(USAGE, str(error)) from None
    except storage_errors() as error:
        raise _exit(USAGE, f"The storage cannot be read: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    """The first line of the innermost cause: Optuna's own message does not name it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else repr(error)


def _exit(status: int, message: str) -> typer.Exit:
    typer.echo(f"optuna-lrss: {_redacted(message)}", err=True)
    return typer.Exit(status)


def _redacted(text: str) -> str:
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _quiet_excepthook(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """The traceback of an unforeseen error, without passwords."""
    sys.stderr.write(_redacted("".join(traceback.format_exception(kind, error, trace))))


if __name__ == "__main__":
    main()
