"""The search inside somebody's training framework; each submodule needs its framework.

``optuna_lrss.integrations.transformers`` for the Hugging Face ``Trainer`` (``pip install
"optuna-lrss[transformers]"``), ``optuna_lrss.integrations.lightning`` for Lightning (``pip install
"optuna-lrss[lightning]"``). Nothing is imported before one of them is.
"""

from __future__ import annotations
