"""One training loop for the codec, the language model and the judges: resumable, seeded, logged.

A step sees nothing but its number, so a run that was killed and resumed makes the batches of an uninterrupted
one. The state on disk is replaced atomically every few minutes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from tqdm.auto import tqdm


@lru_cache(maxsize=1)
def bfloat16_pays() -> bool:
    """Whether a matrix product takes less time here in bfloat16 than in float32, by a measurement of some 50 ms.

    With AMX or avx512_bf16 it is several times faster; a processor without either was seen to be 60 times slower.
    """
    seconds = []
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.ones(512, 256, dtype=dtype), torch.ones(256, 256, dtype=dtype)
        left @ right  # the first product chooses its kernel
        begin = time.perf_counter()
        for _ in range(3):
            left @ right
        seconds.append(time.perf_counter() - begin)
    return seconds[1] < seconds[0]


def autocast() -> torch.autocast:
    """The context of a training's products: bfloat16 where `bfloat16_pays`, float32 elsewhere."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays())


class _Wide(TorchFunctionMode):
    """What is made bfloat16 within it stays float32, where bfloat16 does not pay: torch's Muon knows nothing else."""

    def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if function is torch.Tensor.bfloat16 and not bfloat16_pays():
            return args[0].clone()
        return function(*args, **(kwargs or {}))


def fit(
    model: nn.Module,
    step: Callable[[int], tuple[torch.Tensor, Mapping[str, float]]],
    folder: Path,
    *,
    steps: int,
    learning_rate: float,
    hidden: Iterable[torch.Tensor] = (),
    warmup: int = 200,
    decay: float = 0.4,
    weight_decay: float = 0.02,
    average: float = 0.998,
    save_seconds: float = 150,
    log_every: int = 20,
    evaluate: Callable[[int], Mapping[str, float]] | None = None,
    evaluate_every: int = 1000,
) -> nn.Module:
    """Train to a number of steps, from wherever the folder's state is.

    Parameters
    ----------
    model : nn.Module
        Trained in place; buffers belong to its state.
    step : callable
        Step number to (loss, numbers to log). Must draw its batch from that number alone.
    folder : Path
        Receives ``state.pt`` (model, average, optimiser, step) and ``log.jsonl`` (the curves of the book).
    steps : int
        Where to stop. A larger number later goes on from the state.
    learning_rate : float
        Peak. Linear warm-up over `warmup` steps, constant, then linear to zero over the last `decay` of the run.
    hidden : iterable of Tensor
        Matrices between hidden states, which Muon trains (Jordan et al. 2024; Liu et al. 2025, whose scaling lets
        it share AdamW's learning rate); everything else is AdamW's.
    average : float
        Decay of the exponential moving average of the weights; the model ends with the averaged weights.
    save_seconds : float
        At most this much work is lost to a kill.
    evaluate : callable, optional
        Called with the averaged weights in place every `evaluate_every` steps; its numbers are logged.

    Returns
    -------
    nn.Module
        The model, with averaged weights, in evaluation mode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state_file, log_file = folder / "state.pt", folder / "log.jsonl"
    trained: list[torch.Tensor] = [p for p in model.parameters() if p.requires_grad]
    by_muon = {id(p) for p in hidden}
    rest = [p for p in trained if id(p) not in by_muon]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True)
    ]
    if by_muon:
        matrices = [p for p in trained if id(p) in by_muon]
        muon = torch.optim.Muon(
            matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        optimisers.append(muon)
    averaged = [p.detach().clone() for p in trained]
    first, seconds = 0, 0.0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        for optimiser, values in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(values)
        averaged = [mean.detach() for mean in state["average"]]
        first, seconds = state["step"], state["seconds"]

    def swap() -> None:
        for parameter, mean in zip(trained, averaged, strict=True):
            kept = parameter.detach().clone()
            parameter.data.copy_(mean)
            mean.copy_(kept)

    def save(done: int) -> None:
        states = [optimiser.state_dict() for optimiser in optimisers]
        state = {"model": model.state_dict(), "optimisers": states, "average": averaged}
        temporary = state_file.with_suffix(".tmp")
        torch.save({**state, "step": done, "seconds": seconds}, temporary)
        os.replace(temporary, state_file)

    model.train()
    saved = clock = time.monotonic()
    bar = tqdm(range(first, steps), initial=first, total=steps, desc=folder.name, mininterval=5)
    for number in bar:
        fraction = min(1.0, (number + 1) / warmup, (steps - number) / max(1.0, decay * steps))
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * fraction
        loss, numbers = step(number)
        for parameter in trained:
            parameter.grad = None
        loss.backward()
        norm = nn.utils.clip_grad_norm_(trained, 1.0)
        with _Wide():
            for optimiser in optimisers:
                optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(averaged, trained, 1 - min(average, (1 + number) / (10 + number)))
        now = time.monotonic()
        seconds, clock = seconds + now - clock, now
        logs: dict[str, float] = {}
        if number % log_every == 0:
            logs = {**numbers, "loss": loss.item(), "norm": norm.item()}
        if evaluate is not None and (number + 1) % evaluate_every == 0:
            swap()
            model.eval()
            logs |= evaluate(number)
            model.train()
            swap()
        if logs:
            bar.set_postfix({k: f"{v:.3f}" for k, v in logs.items()}, refresh=False)
            with log_file.open("a") as file:
                file.write(json.dumps({"step": number, "seconds": round(seconds, 1), **logs}) + "\n")
        if now - saved > save_seconds:
            save(number + 1)
            saved = now
    if first < steps:
        save(steps)
    swap()
    return model.eval()
