"""Learning-Rate Step Sampler: the example of the README."""

from __future__ import annotations

import optuna
import optunahub
import torch

from optuna_lrss import analyze
from optuna_lrss.torch import StepObjective


torch.manual_seed(0)
inputs = torch.randn(1000, 16)
targets = inputs[:, :4].sum(dim=1, keepdim=True)  # stands in for your data
batches = list(zip(inputs.split(40), targets.split(40), strict=True))
model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
optimizer = torch.optim.Adam(model.parameters())
objective = StepObjective(
    model, optimizer, torch.nn.functional.mse_loss, batches[:20], batches[20:]
)

sampler = optunahub.load_module(package="samplers/lr_step").LRStepSampler()
study = optuna.create_study(sampler=sampler)
study.optimize(objective)  # stops by itself
print(analyze(study))
