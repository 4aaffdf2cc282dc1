"""Words and characters: topics, translations, commands, names, documentation."""

from __future__ import annotations

import csv
import gzip
import importlib
import inspect
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from examples.benchmarks.landscapes.tasks._base import IGNORED
from examples.benchmarks.landscapes.tasks._base import PAD
from examples.benchmarks.landscapes.tasks._base import Parts
from examples.benchmarks.landscapes.tasks._base import mislabelled
from examples.benchmarks.landscapes.tasks._base import package_file
from examples.benchmarks.landscapes.tasks._base import parts
from examples.benchmarks.landscapes.tasks._base import shared
from examples.benchmarks.landscapes.tasks._base import split
from examples.benchmarks.landscapes.tasks._base import task
from examples.paper._data import Words


_NEWS = "AG News, subset of shared/data/ag_news"
_NEWS_LICENCE = "non-commercial research (as its authors state)"
_SCAN = "SCAN (Lake and Baroni 2018), subset of shared/data/scan"
_CAPTIONS = "Multi30k (Elliott et al. 2016), subset of shared/data/multi30k_en_de"
_PYTHON = "docstrings of Python's standard library (the running version)"

Tokens = NDArray[np.int64]
_SIZES = {"train": 3_000, "val": 512, "test": 1_000}


def _rows(dataset: str) -> dict[str, list[dict[str, str]]]:
    """All rows of each part."""
    found = {}
    for part in _SIZES:
        with gzip.open(shared(dataset) / f"{part}.csv.gz", "rt", encoding="utf-8") as file:
            found[part] = list(csv.DictReader(file))
    return found


# --- news ----------------------------------------------------------------------------------------


def news(sizes: dict[str, int] = _SIZES) -> tuple[dict[str, list[str]], list[Tokens]]:
    """Texts and topics of each part's first rows."""
    rows = {part: found[: sizes[part]] for part, found in _rows("ag_news").items()}
    texts = {p: [f"{r['title']} {r['text']}".strip() for r in found] for p, found in rows.items()}
    return texts, [np.array([int(r["label"]) for r in found]) for found in rows.values()]


def _news_words(vocab: int, length: int) -> Parts:
    texts, topics = news()
    words = Words(texts["train"], vocab)
    tokens = [words.encode(found, length).numpy() for found in texts.values()]
    return parts(list(zip(tokens, topics, strict=True)), n_classes=4, vocab=vocab)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=_NEWS,
    licence=_NEWS_LICENCE,
)
def ag_news() -> Parts:
    """Four topics from the first 32 words, of 2,000 known ones."""
    return _news_words(2_000, 32)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_NEWS}; a third of the training labels drawn anew",
    licence=_NEWS_LICENCE,
)
def ag_news_noise() -> Parts:
    """Topics of news with label noise in training only."""
    return mislabelled(_news_words(2_000, 24), 1 / 3)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_NEWS}, as characters",
    licence=_NEWS_LICENCE,
)
def ag_news_characters() -> Parts:
    """Four topics from the first 64 characters."""
    texts, topics = news()
    code = _Characters("".join(texts["train"]), 48)
    tokens = [_padded([code.encode(t) for t in found], 64) for found in texts.values()]
    return parts(list(zip(tokens, topics, strict=True)), n_classes=4, vocab=48)


@task(
    kind="language",
    loss="token_cross_entropy",
    metric="accuracy",
    source=f"{_NEWS}, as characters",
    licence=_NEWS_LICENCE,
)
def ag_news_language() -> Parts:
    """The next of 32 characters: for a small GPT or an LSTM."""
    texts, _ = news()
    code = _Characters("".join(texts["train"]), 48)
    return _language([code.encode("\n".join(found)) for found in texts.values()], 32, 48)


@task(
    kind="embedding",
    loss="cross_entropy",
    metric="accuracy",
    source=f"{_NEWS}, windows of five words",
    licence=_NEWS_LICENCE,
)
def ag_news_middle_word() -> Parts:
    """A word from the two before and the two after it (a continuous bag of words)."""
    texts, _ = news({"train": 8_000, "val": 1_000, "test": 1_000})
    words = Words(texts["train"], 300)
    sides = []
    for found, limit in zip(texts.values(), (4_000, 512, 1_000), strict=True):
        tokens = words.encode(found, 48).numpy()
        windows = np.lib.stride_tricks.sliding_window_view(tokens, 5, 1)[:, ::2].reshape(-1, 5)
        windows = windows[(windows > 3).all(1)][:limit]  # known words only
        sides.append((windows[:, [0, 1, 3, 4]], windows[:, 2]))
    return parts(_apart(sides), n_classes=300, vocab=300)


@task(
    kind="factorisation",
    loss="mse",
    source=f"{_NEWS}, counts of pairs of words",
    licence=_NEWS_LICENCE,
)
def ag_news_cooccurrence() -> Parts:
    """Logarithm of how often two of the 150 commonest words stand within five words."""
    texts, _ = news()
    tokens = Words(texts["train"], 154).encode(texts["train"], 48).numpy() - 4
    counts = np.zeros((150, 150), np.float32)
    for gap in range(1, 6):
        one, other = tokens[:, :-gap].ravel(), tokens[:, gap:].ravel()
        known = (one >= 0) & (other >= 0)
        np.add.at(counts, (one[known], other[known]), 1)
    pairs = np.argwhere(counts > 0)
    y = np.log(counts[pairs[:, 0], pairs[:, 1]])[:, None]
    # One table of embeddings: the ids of the second word follow those of the first.
    return split(pairs + np.array([0, 150]), y - y.mean(), 4_000, 512, 1_000, vocab=300)


# --- pairs of sequences --------------------------------------------------------------------------


@task(
    kind="sequence",
    loss="token_cross_entropy",
    metric="accuracy",
    source=_SCAN,
    licence="BSD (SCAN)",
)
def scan() -> Parts:
    """A command, then its actions: 24 tokens at most, the actions are asked."""
    return _translation("scan", vocab=32, source=10, target=16)


@task(
    kind="sequence",
    loss="token_cross_entropy",
    metric="accuracy",
    source=f"{_CAPTIONS}, English to German",
    licence="none stated",
)
def captions_translation() -> Parts:
    """An English caption of at most 14 words, then its German version, which is asked."""
    return _translation("multi30k_en_de", vocab=600, source=14, target=14)


@task(
    kind="language",
    loss="token_cross_entropy",
    metric="accuracy",
    source=f"{_CAPTIONS}, German",
    licence="none stated",
)
def captions_language() -> Parts:
    """The next word of a German caption, of 500 known ones."""
    rows = _rows("multi30k_en_de")
    texts = {p: [row["tgt"] for row in found[: _SIZES[p]]] for p, found in rows.items()}
    words = Words(texts["train"], 500)
    sides = []
    for found in texts.values():
        tokens = words.encode(found, 17).numpy()
        sides.append((tokens[:, :-1], np.where(tokens[:, 1:] == PAD, IGNORED, tokens[:, 1:])))
    return parts(_apart(sides), n_classes=500, vocab=500)


def _translation(dataset: str, vocab: int, source: int, target: int) -> Parts:
    """Rows "source END BEGIN target END" that fit, cut to next-token form; the target counts."""
    rows = _rows(dataset)
    words = Words([row[side] for row in rows["train"] for side in ("src", "tgt")], vocab)
    sides = []
    for part, found in rows.items():
        one = words.encode([row["src"] for row in found], source + 3).numpy()
        other = words.encode([row["tgt"] for row in found], target + 3).numpy()
        fits = np.flatnonzero((one[:, -1] == PAD) & (other[:, -1] == PAD))[: _SIZES[part]]
        joined = [
            np.concatenate([a[a != PAD], b[b != PAD]])
            for a, b in zip(one[fits], other[fits], strict=True)
        ]
        tokens = _padded(joined, source + target + 4)
        asked = np.arange(tokens.shape[1]) > (one[fits] != PAD).sum(1, keepdims=True)
        asked &= tokens != PAD
        sides.append((tokens[:, :-1], np.where(asked, tokens, IGNORED)[:, 1:]))
    return parts(_apart(sides), n_classes=vocab, vocab=vocab)


def _apart(sides: list[tuple[Tokens, Tokens]]) -> list[tuple[Tokens, Tokens]]:
    """Parts without the rows that an earlier part holds, or that stand in one twice."""
    seen: set[bytes] = set()
    kept = []
    for x, y in sides:
        new = []
        for i, row in enumerate(x):
            if row.tobytes() not in seen:
                seen.add(row.tobytes())
                new.append(i)
        kept.append((x[new], y[new]))
    return kept


# --- characters ----------------------------------------------------------------------------------


@task(
    kind="language",
    loss="token_cross_entropy",
    metric="accuracy",
    source=_PYTHON,
    licence="PSF-2.0",
)
def python_docs() -> Parts:
    """The next of 32 characters of Python's documentation: for a small GPT or an LSTM."""
    text = _docstrings()
    code = _Characters(text, 64)
    tokens = code.encode(text)
    first, second = int(0.72 * len(tokens)), int(0.82 * len(tokens))
    stretches = [tokens[:first], tokens[first:second], tokens[second:]]
    return _language(stretches, 32, 64)


@task(
    kind="language",
    loss="token_cross_entropy",
    metric="accuracy",
    source="package names 0.3.0, from the 1990 census of the United States",
    licence="public domain (U.S. Census Bureau)",
)
def surnames() -> Parts:
    """The next letter of a surname, of the 20,000 commonest."""
    names = _census("last")[:20_000]
    code = _Characters("".join(names) + "\n", 28)
    tokens = _padded([code.encode(f"\n{name}\n") for name in names], 13)
    x, y = tokens[:, :-1], np.where(tokens[:, 1:] == PAD, IGNORED, tokens[:, 1:])
    return split(x, y, 3_000, 512, 1_000, n_classes=28, vocab=28)


@task(
    kind="classification",
    loss="cross_entropy",
    metric="accuracy",
    source="package names 0.3.0, from the 1990 census of the United States",
    licence="public domain (U.S. Census Bureau)",
)
def first_names() -> Parts:
    """Whether a first name is a woman's or a man's, from its letters."""
    women, men = _census("female"), _census("male")
    both = set(women) & set(men)
    names = [name for name in [*women, *men] if name not in both]
    y = np.array([int(name in set(men)) for name in names])
    code = _Characters("".join(names), 27)
    x = _padded([code.encode(name) for name in names], 12)
    return split(x, y, 2_500, 512, 1_000, n_classes=2, vocab=27)


def _census(which: str) -> list[str]:
    file = "dist.all.last" if which == "last" else f"dist.{which}.first"
    path = package_file("names", file, install="pip install names")
    return [line.split()[0].lower() for line in path.read_text().splitlines()]


#: Modules of every platform with long docstrings, none of which loads members when asked for.
_MODULES = """
argparse ast asyncio bisect calendar collections configparser
contextlib copy csv datetime decimal difflib doctest email enum fractions functools gzip
heapq html.parser http.client inspect io ipaddress itertools json logging math mimetypes
operator os pathlib pdb pickle pickletools pprint random re sched shutil smtplib socket
sqlite3 statistics string struct subprocess tarfile tempfile textwrap threading tokenize
traceback types urllib.parse urllib.request uuid weakref xml.dom zipfile
""".split()  # noqa: SIM905 (a list would take a screen)


def _docstrings() -> str:
    """Documentation of modules, their classes and functions, in a fixed order."""
    found: dict[str, None] = {}
    for name in _MODULES:
        module = importlib.import_module(name)
        members = [module, *(value for _, value in sorted(vars(module).items()))]
        for member in members:
            if member is module or inspect.isclass(member) or inspect.isfunction(member):
                found[inspect.getdoc(member) or ""] = None
    return "\n".join(found)


class _Characters:
    """Ids from 1 on of the commonest lower-case characters; all others share the last id."""

    def __init__(self, text: str, size: int) -> None:
        counts = Counter(text.lower())
        ranked = sorted(counts, key=lambda c: (-counts[c], c))[: size - 2]
        self._ids = {character: i + 1 for i, character in enumerate(ranked)}
        self._other = size - 1

    def encode(self, text: str) -> Tokens:
        return np.array([self._ids.get(c, self._other) for c in text.lower()], np.int64)


def _padded(rows: Sequence[Tokens], length: int) -> Tokens:
    """Rows cut or filled to one length."""
    table = np.full((len(rows), length), PAD, np.int64)
    for line, row in zip(table, rows, strict=True):
        line[: min(length, len(row))] = row[:length]
    return table


def _language(stretches: list[Tokens], length: int, vocab: int) -> Parts:
    """Windows of three stretches of text, end to end, and the character after each."""
    sides = []
    for tokens, limit in zip(stretches, (4_000, 512, 1_000), strict=True):
        n = min(limit, (len(tokens) - 1) // length)
        x = tokens[: n * length].reshape(n, length)
        sides.append((x, tokens[1 : n * length + 1].reshape(n, length)))
    return parts(_apart(sides), n_classes=vocab, vocab=vocab)
