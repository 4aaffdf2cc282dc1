"""A training loop with Accelerate, and the learning rate before it.

    pip install accelerate
    python examples/recipes/accelerate_loop.py
    accelerate launch examples/recipes/accelerate_loop.py   # on whatever it was configured for

The search runs on the main process, with the model, optimizer and loaders as they are before
`prepare` wraps them, and does what the loop does: the same precision, clipping and accumulation.
The other processes get the learning rate by a broadcast.
"""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_lrss.torch import apply_learning_rate
from optuna_lrss.torch import find_lr


Loader = DataLoader[tuple[torch.Tensor, ...]]
CLIP_NORM, ACCUMULATE, EPOCHS = 1.0, 2, 5
PRECISION = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_data() -> tuple[TensorDataset, TensorDataset]:
    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 16.0, dtype=torch.float32), torch.tensor(labels)
    return TensorDataset(x[:1200], y[:1200]), TensorDataset(x[1200:], y[1200:])


def build() -> tuple[nn.Module, torch.optim.Optimizer, Loader, Loader]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    train, validation = load_data()
    loader = DataLoader(train, batch_size=32, shuffle=True)
    return model, optimizer, loader, DataLoader(validation, batch_size=200)


# --- The recipe ----------------------------------------------------------------------------------


def find_learning_rate(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Loader,
    validation: Loader,
) -> float:
    """Call it before `prepare`; the optimizer has the learning rate afterwards, everywhere."""
    found: list[float | None] = [None]
    if accelerator.is_main_process:
        model.to(accelerator.device)  # where `prepare` will put it
        result = find_lr(
            model,
            optimizer,
            nn.functional.cross_entropy,
            train,
            validation,
            # One step of the training takes this many batches, over all processes.
            accumulate=ACCUMULATE * accelerator.num_processes,
            clip_norm=CLIP_NORM,
            autocast=PRECISION[accelerator.mixed_precision],
            progress=False,
        )
        found = [result.recommended]
    (lr,) = broadcast_object_list(found)
    apply_learning_rate(optimizer, lr)
    return float(lr)


def train_fully(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Loader,
    validation: Loader,
) -> float:
    """Accelerate's loop; validation accuracy in percent."""
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(train))
    model, optimizer, train, validation, scheduler = accelerator.prepare(
        model, optimizer, train, validation, scheduler
    )
    for _ in range(EPOCHS):
        for x, y in train:
            with accelerator.accumulate(model):
                accelerator.backward(nn.functional.cross_entropy(model(x), y))
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), CLIP_NORM)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
    model.eval()
    hits, seen = 0, 0
    with torch.no_grad():
        for x, y in validation:
            guess, target = accelerator.gather_for_metrics((model(x).argmax(dim=1), y))
            hits, seen = hits + int((guess == target).sum()), seen + len(target)
    return 100.0 * hits / seen


def main() -> None:
    torch.set_num_threads(1)
    accelerator = Accelerator(gradient_accumulation_steps=ACCUMULATE)
    pieces = build()
    lr = find_learning_rate(accelerator, *pieces)
    accuracy = train_fully(accelerator, *pieces)
    accelerator.print(f"lr {lr:.2g}, validation accuracy {accuracy:.1f} %")
    accelerator.end_training()


if __name__ == "__main__":
    main()
