"""Fine-tuning cells: pretrained weights, a fresh head where there is one, 80 to 600 steps."""

from __future__ import annotations
