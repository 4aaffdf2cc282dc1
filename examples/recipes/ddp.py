"""DistributedDataParallel: rank 0 searches before the model is wrapped, all ranks train.

    torchrun --nproc-per-node 2 examples/recipes/ddp.py
    python examples/recipes/ddp.py   # starts two ranks by itself

For a model that fits one device. A step of the training takes a batch on every rank; the short
trials take as many batches, one after the other, by `accumulate`. Where a model needs all ranks
for a single step, examples/distributed/torch_ddp.py shares each short trial between them.
"""

from __future__ import annotations

import os
import socket

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.data import DistributedSampler
from torch.utils.data import TensorDataset

from optuna_lrss.torch import apply_learning_rate
from optuna_lrss.torch import find_lr


RANKS, BATCH, EPOCHS = 2, 32, 5


def load_data() -> tuple[TensorDataset, TensorDataset]:
    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels / 16.0, dtype=torch.float32), torch.tensor(labels)
    return TensorDataset(x[:1200], y[:1200]), TensorDataset(x[1200:], y[1200:])


def build() -> tuple[nn.Module, torch.optim.Optimizer]:
    """The same on every rank."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


# --- The recipe ----------------------------------------------------------------------------------


def find_learning_rate(model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """Call it on all ranks, before DistributedDataParallel takes the model."""
    found: list[float | None] = [None]
    if dist.get_rank() == 0:
        train, validation = load_data()
        result = find_lr(
            model,
            optimizer,
            nn.functional.cross_entropy,
            DataLoader(train, batch_size=BATCH, shuffle=True),
            DataLoader(validation, batch_size=200),
            accumulate=dist.get_world_size(),
            progress=False,
        )
        found = [result.recommended]
    # The others wait here: where a search takes longer than the process group's timeout (10
    # minutes with NCCL, 30 with gloo), pass a larger one to init_process_group.
    dist.broadcast_object_list(found, src=0)
    (lr,) = found
    assert lr is not None
    apply_learning_rate(optimizer, lr)
    return lr


def run(rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    model, optimizer = build()
    lr = find_learning_rate(model, optimizer)
    train, validation = load_data()
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(train, seed=0)
    loader = DataLoader(train, batch_size=BATCH, sampler=sampler)
    wrapped = DistributedDataParallel(model)
    for epoch in range(EPOCHS):
        sampler.set_epoch(epoch)
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(wrapped(x), y).backward()
            optimizer.step()
    x, y = validation.tensors
    with torch.no_grad():
        hits = (model(x).argmax(dim=1) == y).float().mean().item()
    if rank == 0:
        print(f"lr {lr:.2g} on {dist.get_world_size()} ranks, accuracy {100.0 * hits:.1f} %")
    dist.barrier()
    dist.destroy_process_group()


def start(rank: int, port: int) -> None:
    """What torchrun does."""
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(RANKS)
    )
    run(rank)


def main() -> None:
    if "RANK" in os.environ:
        run(int(os.environ["RANK"]))
        return
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    spawn(start, args=(port,), nprocs=RANKS)


if __name__ == "__main__":
    main()
