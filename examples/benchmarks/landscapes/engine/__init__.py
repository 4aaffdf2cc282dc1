"""Trainings that differ in the learning rate alone, side by side as lanes of the same tensors."""

from __future__ import annotations
