"""Tests of the plots: pure infos first, then both backends drawing the same."""

from __future__ import annotations
