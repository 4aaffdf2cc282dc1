"""Distributed data parallel: all ranks of a short trial use the same learning rate.

    python examples/distributed/torch_ddp.py

Two ranks (gloo, on this machine) train one model together. Only rank 0 has a study;
TorchDistributedTrial broadcasts what it suggests. Whether a trial has diverged is decided from
the loss averaged over the ranks, so that all of them leave the loop together: one rank that
stops alone leaves the others waiting for ever.
"""

from __future__ import annotations

import gc
import math
import os
import socket
import warnings

import optuna
import torch
import torch.distributed as dist
from digits_search import STEPS
from digits_search import pieces
from optuna_integration import TorchDistributedTrial
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from optuna_lrss import LRStepSampler
from optuna_lrss import analyze


RANKS = 2


def average(value: torch.Tensor) -> float:
    """The mean over all ranks; the same number on each of them."""
    value = value.detach().clone()
    dist.all_reduce(value)
    return float(value) / dist.get_world_size()


def validate(model: nn.Module) -> float:
    *_, validation = pieces()
    (x, y) = next(iter(validation))
    mine = slice(dist.get_rank(), None, dist.get_world_size())
    with torch.no_grad():
        return average(nn.functional.cross_entropy(model(x[mine]), y[mine]))


def short_trial(trial: optuna.trial.BaseTrial | None, baseline: float) -> float:
    """20 steps from the initial weights; each rank takes its half of every batch."""
    shared = TorchDistributedTrial(trial)
    lr = shared.suggest_float("lr", 1e-7, 10.0, log=True)  # rank 0 asks, all ranks get it
    model, _, train, _ = pieces()
    ddp = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=lr, momentum=0.9)
    batches = list(train)
    loss, diverged = math.inf, False
    for step in range(STEPS):
        x, y = batches[step % len(batches)]
        mine = slice(dist.get_rank(), None, dist.get_world_size())
        optimizer.zero_grad()
        batch_loss = nn.functional.cross_entropy(ddp(x[mine]), y[mine])
        batch_loss.backward()
        optimizer.step()
        mean = average(batch_loss)
        # The same number everywhere, so the same decision everywhere.
        diverged = not math.isfinite(mean) or mean > baseline + 4.0 * abs(baseline)
        if diverged:
            break
    if not diverged:
        loss = validate(ddp)
    agree([lr, float(diverged), loss])
    return loss if math.isfinite(loss) else math.inf


def agree(decision: list[float]) -> None:
    """Makes sure that every rank decided the same; costs one small message."""
    decisions: list[list[float]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(decisions, decision)
    if any(repr(other) != repr(decision) for other in decisions):
        raise RuntimeError(f"the ranks disagree: {decisions}")


def run(rank: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    dist.init_process_group("gloo", rank=rank, world_size=RANKS)
    baseline = validate(pieces()[0])
    if rank == 0:
        lead(baseline)
    else:
        follow(baseline)
    # All ranks leave together, and with no model left that holds on to the process group: a rank
    # that ends while gloo's threads still run is aborted.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def lead(baseline: float) -> None:
    """Rank 0 has the study; before each trial it tells the others to go on."""
    study = optuna.create_study(sampler=LRStepSampler())
    study.set_user_attr("lrss:baseline", baseline)
    study.set_user_attr("lrss:steps", STEPS)
    study.set_user_attr("lrss:momentum", 0.9)

    def objective(trial: optuna.Trial) -> float:
        tell_others(go_on=True)
        return short_trial(trial, baseline)

    study.optimize(objective)  # stops by itself
    tell_others(go_on=False)
    print(analyze(study))
    diverged = sum(t.value == math.inf for t in study.trials)
    print(f"\n{len(study.trials)} trials on {RANKS} ranks, {diverged} diverged on all of them")


def follow(baseline: float) -> None:
    while hear_leader():
        short_trial(None, baseline)


def tell_others(*, go_on: bool) -> None:
    dist.broadcast_object_list([go_on], src=0)


def hear_leader() -> bool:
    message = [False]
    dist.broadcast_object_list(message, src=0)
    return message[0]


def main() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    spawn(run, args=(port,), nprocs=RANKS)


if __name__ == "__main__":
    main()
