"""The operations that models are made of, for lanes and, as a reference, for one net.

A model calls `ops.linear(x, "name")` and the like and does everything else on the last axes. So
its code runs both on `LaneOps`, where parameters carry a lane axis in front, and on `PlainOps`,
which hands everything to torch's own functions. Pictures are channels-last: `(..., H, W, C)`.

Inputs of `LaneOps` are `(L, B, ...)`, or `(1, B, ...)` as long as no parameter has met them.
"""

from __future__ import annotations

from typing import Any
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


Tensors = dict[str, Tensor]

#: Modes of BatchNorm: "train" normalises by the batch and moves the running statistics, "measure"
#: normalises by the batch and puts its statistics in their place, "eval" normalises by them.
BN_MOMENTUM = 0.1
NORM_EPS = 1e-5


class Ops(Protocol):
    """What a model may call; `name` is the layer's, `<name>.weight` and so on its parameters."""

    def param(self, name: str) -> Tensor: ...
    def linear(self, x: Tensor, name: str) -> Tensor: ...
    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor: ...
    def embedding(self, tokens: Tensor, name: str) -> Tensor: ...
    def layer_norm(self, x: Tensor, name: str) -> Tensor: ...
    def batch_norm(self, x: Tensor, name: str) -> Tensor: ...
    def attention(self, x: Tensor, name: str, heads: int, causal: bool) -> Tensor: ...
    def gru(self, x: Tensor, name: str) -> Tensor: ...
    def lstm(self, x: Tensor, name: str) -> Tensor: ...


def _beside(value: Tensor, x: Tensor) -> Tensor:
    """A (L, C) tensor with axes of 1 in between, to meet an (L, B, ..., C) one."""
    return value.view(value.shape[0], *[1] * (x.dim() - 2), value.shape[-1])


def _strides(weight: Tensor, stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Strides and padding of a kernel; one over a single row strides along the row alone."""
    kh, kw = weight.shape[-2:]
    return (1 if kh == 1 < kw else stride, stride), (kh // 2, kw // 2)


def _batch_norm(ops: LaneOps | PlainOps, x: Tensor, name: str) -> Tensor:
    """Of `x` with channels second; parameters and statistics are flattened to one axis."""
    return F.batch_norm(
        x,
        ops.buffers[f"{name}.mean"].view(-1),
        ops.buffers[f"{name}.var"].view(-1),
        ops.params[f"{name}.weight"].flatten(),
        ops.params[f"{name}.bias"].flatten(),
        training=ops.mode != "eval",
        momentum=BN_MOMENTUM if ops.mode == "train" else 1.0,
        eps=NORM_EPS,
    )


class LaneOps:
    """Operations on `L` nets at once.

    Args:
        params: Parameters, shape (L, *torch's shape).
        buffers: Running statistics of BatchNorm, shape (L, channels); changed in place.
        mode: See `BN_MOMENTUM`.
    """

    def __init__(self, params: Tensors, buffers: Tensors, mode: str) -> None:
        self.params, self.buffers, self.mode = params, buffers, mode

    def param(self, name: str) -> Tensor:
        """A parameter that stands alone, with an axis for the rows: (L, 1, ...)."""
        return self.params[name].unsqueeze(1)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return self._linear(x, self.params[f"{name}.weight"], self.params.get(f"{name}.bias"))

    @staticmethod
    def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows = x.flatten(1, -2).expand(weight.shape[0], -1, -1)
        w = weight.transpose(1, 2)
        if bias is None:
            out = torch.bmm(rows, w)
        else:
            out = torch.baddbmm(bias.unsqueeze(1), rows, w)
        return out.view(weight.shape[0], *x.shape[1:-1], weight.shape[1])

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, bias = self.params[f"{name}.weight"], self.params.get(f"{name}.bias")
        lanes, outputs = weight.shape[:2]
        # Lanes are groups of channels. In memory (B, L, C, H, W) stays; only the view changes.
        groups = 1 if x.shape[0] == 1 else lanes
        pictures = x.permute(1, 0, 4, 2, 3).flatten(1, 2)
        shifts = None if bias is None else bias.flatten()
        step, pad = _strides(weight, stride)
        out = F.conv2d(pictures, weight.flatten(0, 1), shifts, step, pad, groups=groups)
        return out.view(x.shape[1], lanes, outputs, *out.shape[2:]).permute(1, 0, 3, 4, 2)

    def embedding(self, tokens: Tensor, name: str) -> Tensor:
        weight = self.params[f"{name}.weight"]
        lanes, size, width = weight.shape
        if len(tokens) == 1:
            rows = weight.index_select(1, tokens.flatten())
        else:
            tables = torch.arange(0, lanes * size, size).view(-1, *[1] * (tokens.dim() - 1))
            rows = weight.reshape(-1, width).index_select(0, (tokens + tables).flatten())
        return rows.view(lanes, *tokens.shape[1:], width)

    def layer_norm(self, x: Tensor, name: str) -> Tensor:
        out = F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)
        weight, bias = self.params[f"{name}.weight"], self.params[f"{name}.bias"]
        return torch.addcmul(_beside(bias, x), out, _beside(weight, x))

    def batch_norm(self, x: Tensor, name: str) -> Tensor:
        lanes, rows, *places, channels = x.shape
        # (B, L * C, places): a lane's channels are further channels.
        flat = x.movedim(-1, 2).transpose(0, 1).flatten(1, 2)
        out = _batch_norm(self, flat, name)
        return out.view(rows, lanes, channels, *places).transpose(0, 1).movedim(2, -1)

    def attention(self, x: Tensor, name: str, heads: int, causal: bool) -> Tensor:
        qkv = self.linear(x, f"{name}.qkv")
        lanes, rows, steps, _ = qkv.shape
        q, k, v = qkv.view(lanes * rows, steps, 3, heads, -1).permute(2, 0, 3, 1, 4).flatten(1, 2)
        mixed: Tensor = _Attention.apply(q, k, v, causal)  # type: ignore[no-untyped-call]
        out = mixed.view(lanes, rows, heads, steps, -1)
        return self.linear(out.transpose(2, 3).flatten(3), f"{name}.out")

    def gru(self, x: Tensor, name: str) -> Tensor:
        p = self.params
        given = self._linear(x, p[f"{name}.weight_ih"], p[f"{name}.bias_ih"])
        w, b = p[f"{name}.weight_hh"].transpose(1, 2), p[f"{name}.bias_hh"].unsqueeze(1)
        h = given.new_zeros(w.shape[0], x.shape[1], w.shape[1])
        states = []
        for step in given.unbind(2):
            r_x, z_x, n_x = step.chunk(3, -1)
            r_h, z_h, n_h = torch.baddbmm(b, h, w).chunk(3, -1)
            r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
            n = torch.tanh(n_x + r * n_h)
            h = n + z * (h - n)
            states.append(h)
        return torch.stack(states, 2)

    def lstm(self, x: Tensor, name: str) -> Tensor:
        p = self.params
        bias = p[f"{name}.bias_ih"] + p[f"{name}.bias_hh"]
        given = self._linear(x, p[f"{name}.weight_ih"], bias)
        w = p[f"{name}.weight_hh"].transpose(1, 2)
        h = c = given.new_zeros(w.shape[0], x.shape[1], w.shape[1])
        states = []
        for step in given.unbind(2):
            i, f, g, o = torch.baddbmm(step, h, w).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        return torch.stack(states, 2)


class PlainOps:
    """The same operations on one net, by torch's own functions: the reference for `LaneOps`."""

    def __init__(self, params: Tensors, buffers: Tensors, mode: str) -> None:
        self.params, self.buffers, self.mode = params, buffers, mode

    def param(self, name: str) -> Tensor:
        return self.params[name]

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.params[f"{name}.weight"], self.params.get(f"{name}.bias"))

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, bias = self.params[f"{name}.weight"], self.params.get(f"{name}.bias")
        pictures = x.movedim(-1, 1)
        return F.conv2d(pictures, weight, bias, *_strides(weight, stride)).movedim(1, -1)

    def embedding(self, tokens: Tensor, name: str) -> Tensor:
        return F.embedding(tokens, self.params[f"{name}.weight"])

    def layer_norm(self, x: Tensor, name: str) -> Tensor:
        p = self.params
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], NORM_EPS)

    def batch_norm(self, x: Tensor, name: str) -> Tensor:
        return _batch_norm(self, x.movedim(-1, 1), name).movedim(1, -1)

    def attention(self, x: Tensor, name: str, heads: int, causal: bool) -> Tensor:
        p = self.params
        steps = x.shape[1]
        along = x.transpose(0, 1)
        mask = torch.ones(steps, steps, dtype=torch.bool).triu(1) if causal else None
        out, _ = F.multi_head_attention_forward(
            along,
            along,
            along,
            x.shape[-1],
            heads,
            p[f"{name}.qkv.weight"],
            p[f"{name}.qkv.bias"],
            None,
            None,
            False,
            0.0,
            p[f"{name}.out.weight"],
            p[f"{name}.out.bias"],
            need_weights=False,
            attn_mask=mask,
        )
        return out.transpose(0, 1)

    def gru(self, x: Tensor, name: str) -> Tensor:
        return self._recurrent(torch.gru, x, name)

    def lstm(self, x: Tensor, name: str) -> Tensor:
        return self._recurrent(torch.lstm, x, name)

    def _recurrent(self, function: Any, x: Tensor, name: str) -> Tensor:
        weights = [
            self.params[f"{name}.{w}"] for w in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        h = x.new_zeros(1, x.shape[0], weights[1].shape[1])
        start = (h, h) if function is torch.lstm else h
        out: Tensor = function(x, start, weights, True, 1, 0.0, False, False, True)[0]
        return out


class _Attention(torch.autograd.Function):
    """Softmax attention of (N, steps, width) queries, keys and values.

    Weights lie as (N, keys, queries): torch's softmax over a short last axis, and its fused
    attention, take several times as long on matrices as small as these.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        scale = q.shape[-1] ** -0.5
        p = torch.bmm(k, q.mT).mul_(scale)
        if causal:
            later = torch.ones(p.shape[1:], dtype=torch.bool).tril(-1)
            p.masked_fill_(later, -torch.inf)
        p = p.sub_(p.amax(1, keepdim=True)).exp_()
        p /= p.sum(1, keepdim=True)
        ctx.save_for_backward(q, k, v, p)
        return torch.bmm(p.mT, v)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, p = ctx.saved_tensors
        of_v = torch.bmm(p, gradient)
        of_p = torch.bmm(v, gradient.mT).mul_(p)
        of_scores = of_p.sub_(p * of_p.sum(1, keepdim=True)).mul_(q.shape[-1] ** -0.5)
        return torch.bmm(of_scores.mT, k), torch.bmm(of_scores, q), of_v, None
