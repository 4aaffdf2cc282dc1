"""Landscapes: how loss and final metric depend on the learning rate, over hundreds of nets."""

from __future__ import annotations
