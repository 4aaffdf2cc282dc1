"""Servers for the tests of many workers; made once per session."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers import fleet


sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "benchmarks"))

import servers


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    if servers.postgres_binaries() is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with servers.postgres() as server:
        fleet.open_storage(server.url)  # the tables
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    if servers.redis_binary() is None:
        pytest.skip("Redis is not installed (apt-get install redis-server)")
    with servers.redis() as url:
        yield url


@pytest.fixture
def name() -> str:
    """A study name that no other test uses."""
    return uuid.uuid4().hex


@pytest.fixture(params=["sqlite", "journal", "postgres", "redis", "grpc"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Every kind of storage that processes can share, as a spec for ``fleet.open_storage``."""
    kind = request.param
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path}/study.db"
    elif kind == "journal":
        yield f"journal:{tmp_path}/study.log"
    elif kind == "postgres":
        yield request.getfixturevalue("postgres").url
    elif kind == "redis":
        yield request.getfixturevalue("redis")
    else:
        pytest.importorskip("grpc")
        storage = fleet.open_storage(request.getfixturevalue("postgres").url)
        with fleet.grpc_server(storage, servers.free_port()) as spec:
            yield spec
