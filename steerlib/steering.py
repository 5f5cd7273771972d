"""Steering vectors, and adding them to a model's activations while it generates.

Method: paper A, section 3.2 (h <- h + λΔ, equation 2), 3.3 (One-to-All, All-to-All), A.1 (steps) and A.2
(branches of guidance); paper B, section IV-D (residual stream or attention output, and the rule that keeps
the norm, ``h' = (h + αv) · ‖h‖ / ‖h + αv‖`` with v of unit length: ``vector.unit()``).

Conventions: layers are 0-based, and layer k is the OUTPUT of decoder block k. (Paper B edits the residual
stream at the input of a block: that of block k is the output of block k - 1.) A positive multiplier goes
toward the vector's positive pole. Directions have the unit of the activations they were taken from, so
multiplier 1 shifts an activation by the whole distance between the poles' means.

Multiplier 0 edits nothing: the tokens are those of the unsteered model, bit for bit. Nested contexts add up.

A `SteeringVector` is added whatever the model is doing; what a `SteeringMap` adds depends on the state that it meets.
"""

import json
import math
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from steerlib.files import write_whole
from steerlib.model import check_shape, decoder_stack, model_id, network_of

__all__ = [
    "Branches",
    "Edit",
    "Feedback",
    "Positions",
    "Site",
    "Steering",
    "SteeringMap",
    "SteeringVector",
    "Steps",
    "Terms",
    "active_steering",
    "add_direction",
    "check_positions",
    "kappa",
    "load_edit",
]

Steps = Literal["all", "first"]
Branches = Literal["both", "conditional", "unconditional"]
Site = Literal["residual", "attention"]
Positions = Literal["all", "prefix", "audio"]
Terms = tuple[Tensor, Tensor, Tensor]
"""Scale, read and write of a `SteeringMap`."""

_VECTOR, _MAP = "steerlib.SteeringVector", "steerlib.SteeringMap"
_FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """One direction per layer of a model.

    Supports ``-v``, ``v * a``, ``v / a``, ``v + w`` and ``v - w``.

    Attributes
    ----------
    directions : Tensor, shape (layers, hidden), float32, on the CPU
        Row k is the direction of layer k, in the unit of the activations.
    metadata : dict
        Where it comes from: model, revision, prompts' hash, method, poles, versions. Anything that JSON can
        hold.

    Raises
    ------
    ValueError
        If `directions` is not a matrix of finite numbers.
    TypeError
        If JSON cannot hold the metadata.
    """

    directions: Tensor
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        directions = (
            torch.as_tensor(self.directions).detach().to("cpu", torch.float32, copy=True).contiguous()
        )
        if directions.ndim != 2 or 0 in directions.shape:
            raise ValueError(f"directions must have shape (layers, hidden), got {tuple(directions.shape)}")
        if not directions.isfinite().all():
            bad = [int(k) for k in (~directions.isfinite()).any(1).nonzero()]
            raise ValueError(f"directions must be finite, but those of layers {bad} are not")
        object.__setattr__(self, "directions", directions)
        object.__setattr__(self, "metadata", json.loads(json.dumps(dict(self.metadata))))

    def __neg__(self) -> "SteeringVector":
        return self * -1.0

    def __mul__(self, factor: float) -> "SteeringVector":
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        if not math.isfinite(factor):
            raise ValueError(f"a vector can be multiplied by a finite number only, got {factor}")
        metadata = dict(self.metadata)
        if factor < 0 and {"positive", "negative"} <= metadata.keys():
            metadata["positive"], metadata["negative"] = metadata["negative"], metadata["positive"]
        if abs(factor) != 1:
            metadata["scale"] = metadata.get("scale", 1.0) * abs(factor)
        return SteeringVector(self.directions * factor, metadata)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "SteeringVector":
        return self * (1 / divisor)

    def __add__(self, other: "SteeringVector") -> "SteeringVector":
        if not isinstance(other, SteeringVector):
            return NotImplemented
        if self.directions.shape != other.directions.shape:
            raise ValueError(
                f"vectors of shapes {tuple(self.directions.shape)} and {tuple(other.directions.shape)} "
                "cannot be added: take both from the same model"
            )
        same = {
            key: value
            for key, value in self.metadata.items()
            if key in ("model", "revision", "weights", "versions")
        }
        if any(other.metadata.get(key, value) != value for key, value in same.items() if key != "versions"):
            raise ValueError(
                "vectors of different models cannot be added: "
                f"{self.metadata.get('model')} ({self.metadata.get('weights')}) and "
                f"{other.metadata.get('model')} ({other.metadata.get('weights')})"
            )
        metadata = same | {"method": "sum", "terms": [self.metadata, other.metadata]}
        return SteeringVector(self.directions + other.directions, metadata)

    def __sub__(self, other: "SteeringVector") -> "SteeringVector":
        if not isinstance(other, SteeringVector):
            return NotImplemented
        return self + -other

    def __repr__(self) -> str:
        layers, hidden = self.directions.shape
        poles = " > ".join(
            str(self.metadata[key]) for key in ("positive", "negative") if key in self.metadata
        )
        return f"SteeringVector({layers} layers x {hidden}{', ' + poles if poles else ''})"

    @property
    def norms(self) -> Tensor:
        """Euclidean length of each layer's direction, shape (layers,)."""
        return self.directions.norm(dim=1)

    def unit(self) -> "SteeringVector":
        """The vector with every layer's direction scaled to length 1 (zero directions stay zero)."""
        norms = self.norms[:, None]
        return SteeringVector(self.directions / norms.where(norms > 0, 1.0), {**self.metadata, "unit": True})

    def everywhere(self, layer: int) -> "SteeringVector":
        """The direction of one layer at every layer: One-to-All (paper A section 3.3) as a vector.

        Vectors of different source layers can then be added up, each with its λ, and act together as one.
        Chapter: *Mixtures*.

        Raises
        ------
        ValueError
            If `layer` is outside the vector.

        Examples
        --------
        >>> fast_but_dark = 0.03 * tempo.everywhere(3) - 0.005 * timbre.everywhere(10)  # doctest: +SKIP
        >>> with fast_but_dark.apply(model):                                            # doctest: +SKIP
        ...     clips = generate(model, ["a folk song"])
        """
        _check_layer(layer, len(self.directions), "layer")
        return SteeringVector(
            self.directions[layer].expand_as(self.directions), {**self.metadata, "source_layer": int(layer)}
        )

    def cosine_similarity(self, other: "SteeringVector | None" = None) -> Tensor:
        """Cosines between the directions of this vector and of another, or its own (paper A Fig. 6).

        Returns
        -------
        Tensor, shape (layers, layers of the other)
            Entry (i, j) compares layer i of this vector with layer j of the other; NaN where a direction is
            zero.
        """
        theirs = self if other is None else other
        if self.directions.shape[1] != theirs.directions.shape[1]:
            raise ValueError(
                "there is no angle between directions of hidden sizes "
                f"{self.directions.shape[1]} and {theirs.directions.shape[1]}"
            )
        return (self.directions / self.norms[:, None]) @ (theirs.directions / theirs.norms[:, None]).T

    def apply(
        self,
        model: Any,
        multiplier: float = 1.0,
        *,
        source_layer: int | None = None,
        layers: Sequence[int] | None = None,
        steps: Steps = "all",
        branches: Branches = "both",
        site: Site = "residual",
        preserve_norm: bool = False,
        positions: Positions = "all",
    ) -> AbstractContextManager["Steering"]:
        """Steer a model inside a ``with`` block.

        See `Steering` for the parameters and `Steering.applied` for the rules. Chapter: *Steering sweep*.

        Examples
        --------
        >>> with vector.apply(model, multiplier=1.25, source_layer=8):          # doctest: +SKIP
        ...     clips = generate(model, ["a folk song"])
        """
        return Steering(
            self,
            multiplier,
            source_layer=source_layer,
            layers=None if layers is None else tuple(layers),
            steps=steps,
            branches=branches,
            site=site,
            preserve_norm=preserve_norm,
            positions=positions,
        ).applied(model)

    def save(self, path: str | Path) -> None:
        """Write the vector to a safetensors file, whole or not at all.

        The tensor is called ``directions``; the metadata is one JSON text under ``steerlib.SteeringVector``.
        The same vector gives the same bytes.
        """
        _write(path, _VECTOR, {"directions": self.directions}, self.metadata)

    @classmethod
    def load(cls, path: str | Path, *, model: Any = None) -> "SteeringVector":
        """Read a vector that `save` wrote. Only safetensors are read: nothing is ever unpickled.

        Parameters
        ----------
        path : str or Path
        model : MusicModel, or a transformers MusicGen, optional
            The model it is meant for: a vector of another shape is refused now, and not when it is applied.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not a safetensors file, is damaged, holds no vector, was written by a newer format, or does
            not fit the `model`.

        Warns
        -----
        UserWarning
            If it was taken from other weights than those of the `model`.
        """
        return _read(path, _VECTOR, cls, ["directions"], model)


@dataclass(frozen=True, eq=False)
class SteeringMap:
    """A push that depends on the state it meets: an affine map of activations for each pole and layer.

    At multiplier λ a state h becomes ``h + |λ| (shift + scale * h - (read . h) write)``, with the terms of the pole
    that the sign of λ names: 1 goes the whole way, 0 edits nothing. `steerlib.directions.transport` and
    `erase_and_set` make them; what takes a `SteeringVector` to steer by takes them, too. Chapter: *Methods*.

    Attributes
    ----------
    shift, scale : Tensor, shape (2, layers, hidden), float32
        Of the positive pole, then of the negative one; `scale` has no unit.
    read, write : Tensor, shape (2, layers, hidden), float32
        What is taken away along `write` is what `read` finds in the state.
    origin : Tensor, shape (layers, hidden), float32
        Mean state of those that the map was made of, in whose place κ is measured.
    metadata : dict
        As of a `SteeringVector`.

    Raises
    ------
    ValueError
        If shapes do not fit, or something is not finite.
    """

    shift: Tensor
    scale: Tensor
    read: Tensor
    write: Tensor
    origin: Tensor
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = torch.as_tensor(self.shift).shape
        for name in _TENSORS:
            given = torch.as_tensor(getattr(self, name)).detach().to("cpu", torch.float32, copy=True).contiguous()
            if len(whole) != 3 or whole[0] != 2 or given.shape != (whole[1:] if name == "origin" else whole):
                raise ValueError(
                    f"a SteeringMap needs shift, scale, read and write of one shape (2, layers, hidden), and origin of "
                    f"(layers, hidden); {name} has {tuple(given.shape)}, shift {tuple(whole)}"
                )
            if not given.isfinite().all():
                raise ValueError(f"a SteeringMap must be finite, but its {name} is not")
            object.__setattr__(self, name, given)
        object.__setattr__(self, "metadata", json.loads(json.dumps(dict(self.metadata))))

    def __repr__(self) -> str:
        _, layers, hidden = self.shift.shape
        return f"SteeringMap({layers} layers x {hidden}, {self.metadata.get('method', 'affine')})"

    @property
    def directions(self) -> Tensor:
        """What is added to a state at the origin toward the positive pole, shape (layers, hidden)."""
        return self.at_origin(1.0)

    def at_origin(self, multiplier: float) -> Tensor:
        """What is added to a state at the origin, shape (layers, hidden)."""
        shift, terms = self.toward(multiplier)
        return add_direction(self.origin, shift, terms=terms) - self.origin

    def toward(self, multiplier: float) -> tuple[Tensor, Terms]:
        """Shift, and scale, read and write, of the pole that a multiplier names, times its size where they add."""
        pole, size = int(multiplier < 0), abs(float(multiplier))
        return self.shift[pole] * size, (self.scale[pole] * size, self.read[pole], self.write[pole] * size)

    def apply(self, model: Any, multiplier: float = 1.0, **how: Any) -> AbstractContextManager["Steering"]:
        """Steer a model inside a ``with`` block; `how` as for `SteeringVector.apply`."""
        return Steering(self, multiplier, **how).applied(model)

    def save(self, path: str | Path) -> None:
        """Write the map to a safetensors file, whole or not at all: its tensors by their names, metadata as JSON."""
        _write(path, _MAP, {name: getattr(self, name) for name in _TENSORS}, self.metadata)

    @classmethod
    def load(cls, path: str | Path, *, model: Any = None) -> "SteeringMap":
        """Read a map that `save` wrote; parameters, errors and warnings as for `SteeringVector.load`."""
        return _read(path, _MAP, cls, _TENSORS, model)


_TENSORS = ["shift", "scale", "read", "write", "origin"]

Edit = SteeringVector | SteeringMap
"""What a `Steering` does to a state."""


@dataclass(frozen=True, eq=False)
class Feedback:
    """A schedule that listens: each factor of λ follows from what the model has written so far.

    A row is heard alone, so that its tokens do not depend on its neighbours. Chapter: *Control*.

    Attributes
    ----------
    layer : int
        Block that is listened to, 0-based.
    rule : callable
        Makes a finite factor of what was heard, a Tensor of shape (frames, hidden), float32: the output of the block
        after each frame that was written, before its own push is added, in the conditional row. At first there are
        no frames. It must depend on nothing else.
    every : int, default 25
        Frames from one decision to the next.
    name : str, default ""
        Stands for the rule in the key of stored clips; a sweep needs one.

    Raises
    ------
    ValueError
        If `layer` or `every` makes no sense.
    """

    layer: int
    rule: Callable[[Tensor], float]
    every: int = 25
    name: str = ""

    def __post_init__(self) -> None:
        if type(self.every) is not int or self.every < 1:
            raise ValueError(f"every must be a number of frames, at least 1, got {self.every!r}")
        if isinstance(self.layer, bool) or not isinstance(self.layer, int) or self.layer < 0:
            raise ValueError(f"layer must be a block, counted from 0, got {self.layer!r}")

    def factor(self, frame: int, heard: Tensor) -> float:
        """The factor in the step that writes a frame; of `heard` it takes what was there at the last decision.

        Raises
        ------
        FloatingPointError
            If the rule makes no finite number of it.
        """
        factor = float(self.rule(heard[: max(0, frame // self.every * self.every - 1)]))
        if not math.isfinite(factor):
            raise FloatingPointError(
                f"the rule of a Feedback gave {factor} at frame {frame}: expected a number"
            )
        return factor


@dataclass(frozen=True, eq=False)
class Steering:
    """What to add where: a vector with a multiplier, layers, steps, branches and site. Checked when made.

    Attributes
    ----------
    vector : SteeringVector or SteeringMap
    multiplier : float, default 1.0
        λ of paper A, α of paper B: positive toward the vector's positive pole, 0 for no steering.
    source_layer : int, optional
        One-to-All (paper A section 3.3): the direction of this layer goes into every block of `layers`.
        None is All-to-All: each block gets its own direction.
    layers : tuple of int, optional
        Blocks to steer; all of them by default.
    steps : {"all", "first"}
        At every autoregressive step, or only in the pass over the prefix and the start token and in nothing
        after it (paper A, A.1). Where no KV cache is used, the same positions are steered each time they are
        recomputed.
    branches : {"both", "conditional", "unconditional"}
        Rows to steer under classifier-free guidance (paper A, A.2). A row is unconditional if the text part
        of its prefix is zero, which is how MusicGen writes its null prompt. So without guidance "conditional"
        steers every row, and "unconditional" is an error.
    site : {"residual", "attention"}
        The output of the block, or that of its self-attention before it is added to the stream.
    preserve_norm : bool, default False
        Scale each steered activation back to the norm it had (paper B section IV-D). Meant for
        ``vector.unit()``.
    schedule : tuple of float, or Feedback, optional
        A factor of the multiplier for each frame of the clip; the last one goes on. Or a function of what has been
        written so far. It acts in the step that chooses the frame's first token; the prefix is read with the factor of
        frame 0. `steerlib.control.schedule` makes one of points in seconds.
    positions : {"all", "prefix", "audio"}
        Which positions of the decoder's sequence to steer: the prefix (melody and text), or the audio, which is the
        start token and the codes. With `steps` "first", "audio" is the start token alone.

    Raises
    ------
    ValueError
        If the multiplier or the schedule is not finite or the schedule empty, a layer is outside the vector, or a
        name is not one of those above.
    """

    vector: Edit
    multiplier: float = 1.0
    source_layer: int | None = None
    layers: tuple[int, ...] | None = None
    steps: Steps = "all"
    branches: Branches = "both"
    site: Site = "residual"
    preserve_norm: bool = False
    schedule: tuple[float, ...] | Feedback | None = None
    positions: Positions = "all"

    def __post_init__(self) -> None:
        if not isinstance(self.vector, Edit):
            raise TypeError(
                f"vector must be a SteeringVector or a SteeringMap, got {type(self.vector).__name__}"
            )
        if not math.isfinite(self.multiplier):
            raise ValueError(f"multiplier must be a finite number, got {self.multiplier}")
        count = len(self.vector.directions)
        if self.source_layer is not None:
            _check_layer(self.source_layer, count, "source_layer")
        if self.layers is not None:
            chosen = tuple(self.layers)
            if not chosen or len(set(chosen)) < len(chosen):
                raise ValueError(
                    f"layers must name different blocks, at least one, got {list(chosen)}; None is all"
                )
            for layer in chosen:
                _check_layer(layer, count, "layers")
            object.__setattr__(self, "layers", tuple(sorted(map(int, chosen))))
        if isinstance(self.schedule, Feedback):
            _check_layer(self.schedule.layer, count, "the layer of a Feedback")
        elif self.schedule is not None:
            factors = tuple(map(float, self.schedule))
            if not factors or not all(map(math.isfinite, factors)):
                raise ValueError(
                    "a schedule needs a finite factor for each frame, at least one; None is 1 throughout"
                )
            object.__setattr__(self, "schedule", factors)
        choices = {"steps": Steps, "branches": Branches, "site": Site, "positions": Positions}
        for name, names in choices.items():
            if getattr(self, name) not in get_args(names):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(names))}; got {getattr(self, name)!r}"
                )

    def at(self, frame: int, heard: Tensor | None = None) -> "Steering":
        """What acts in the step that writes a frame: the same steering, its multiplier as scheduled.

        `heard`, of shape (frames, hidden), is what a `Feedback` goes by; None is nothing yet.
        """
        if self.schedule is None:
            return self
        if isinstance(self.schedule, Feedback):
            nothing = torch.zeros(0, self.vector.directions.shape[1])
            factor = self.schedule.factor(frame, nothing if heard is None else heard)
        else:
            factor = self.schedule[min(frame, len(self.schedule) - 1)]
        return replace(self, multiplier=self.multiplier * factor, schedule=None)

    def deltas(self, num_layers: int) -> Tensor:
        """What is added at each block: multiplier times direction, zero at blocks that are not steered.

        What a `SteeringMap` adds to a state at its origin.

        Returns
        -------
        Tensor, shape (num_layers, hidden), float32

        Raises
        ------
        ValueError
            If the vector has not one direction for each of the `num_layers` blocks.
        """
        if isinstance(self.vector, SteeringMap):
            return self._placed(self.vector.at_origin(self.multiplier), num_layers)
        return self._placed(self.vector.directions, num_layers) * float(self.multiplier)

    def push(self, num_layers: int) -> tuple[Tensor, Terms | None]:
        """What happens at each block: `delta` and `terms` of `add_direction`, with the layer as their first axis."""
        if isinstance(self.vector, SteeringVector):
            return self.deltas(num_layers), None
        shift, terms = self.vector.toward(self.multiplier)
        scale, read, write = (self._placed(each, num_layers) for each in terms)
        return self._placed(shift, num_layers), (scale, read, write)

    def _placed(self, directions: Tensor, num_layers: int) -> Tensor:
        """A row for each block: that of its source layer, zero at blocks that are not steered."""
        if len(directions) != num_layers:
            raise ValueError(
                f"the vector has shape {tuple(directions.shape)}, one direction for each of "
                f"{len(directions)} layers, but the model has {num_layers}: take the vector from this model"
            )
        if self.source_layer is not None:
            directions = directions[self.source_layer].expand_as(directions)
        if self.layers is not None:
            steered = torch.zeros(num_layers, 1, dtype=torch.bool)
            steered[list(self.layers)] = True
            directions = directions.where(steered, 0.0)
        return directions

    @contextmanager
    def applied(self, model: Any) -> Iterator["Steering"]:
        """Steer `model` inside a ``with`` block: its forward pass and transformers' ``generate``.

        The hooks act only while the model's decoder runs, come before any other hook on the same block, and
        are removed whatever happens. Contexts may be nested: their vectors add up (with `preserve_norm` the
        order matters: the inner context acts first). One context serves one generation at a time.

        Parameters
        ----------
        model : MusicModel, or a transformers MusicGen

        Raises
        ------
        TypeError
            If the model is not a MusicGen.
        ValueError
            If the vector does not fit the model, or the model has no such positions; during a pass, if `branches`
            cannot be told apart.
        """
        network = network_of(model)
        stack = decoder_stack(network)
        check_shape(network, self.vector.directions, "the vector")
        check_positions(network, self.positions)
        current = _Pass(self, chroma_length=getattr(network.config, "chroma_length", 0))
        with ExitStack() as hooks:
            hooks.callback(stack.register_forward_pre_hook(current.begin, with_kwargs=True).remove)
            hooks.callback(stack.register_forward_hook(current.end, always_call=True).remove)
            delta, terms = self.push(len(stack.layers))
            for k, block in enumerate(stack.layers):
                edit = [delta[k], *((each[k] for each in terms) if terms else ())]
                if any(each.any() for each in edit):
                    target = block if self.site == "residual" else block.self_attn
                    hooks.callback(target.register_forward_hook(current.editor(*edit), prepend=True).remove)
            opened = _ACTIVE.setdefault(network, [])
            opened.append(current)
            hooks.callback(opened.remove, current)
            yield self


def active_steering(model: Any) -> tuple[Steering, ...]:
    """The steerings of the contexts open on a model, in the order in which they act: innermost first.

    For decoders that do not run the model's own blocks, and therefore not their hooks.
    """
    return tuple(current.steering for current in reversed(_ACTIVE.get(network_of(model), [])))


def check_positions(model: Any, positions: Positions) -> None:
    """Raise ValueError if the model's decoder has no prefix, and `positions` ask for it."""
    if positions == "prefix" and hasattr(decoder_stack(model).layers[0], "encoder_attn"):
        raise ValueError(
            "positions='prefix', but this model reads its prompt through cross-attention: its decoder's sequence has "
            "no prefix. Use a MusicGen-Melody model, or positions='all'"
        )


def kappa(steering: Sequence[Steering], norms: Tensor) -> float:
    """Strength of a push that means the same on every model: κ = Σ over blocks of ‖λΔ‖ / ‖h‖.

    What is added at each block as a share of the residual stream there, summed because the stream keeps what was
    added. For one steering it grows with the size of λ. In the steps and branches in which it acts, its schedule
    left aside. Used by every sweep, for its column ``kappa``.

    Parameters
    ----------
    steering : sequence of Steering
        What acts together; none is 0.
    norms : Tensor, shape (layers,)
        Length of the stream after each block, from `steerlib.activations.stream_norms`.
    """
    if not steering:
        return 0.0
    total = torch.stack([each.deltas(len(norms)) for each in steering]).sum(dim=0)
    return float((total.norm(dim=1) / norms).sum())


def add_direction(
    hidden: Tensor, delta: Tensor, *, preserve_norm: bool = False, terms: Terms | None = None
) -> Tensor:
    """Add a direction to activations: the one formula behind all steering.

    Parameters
    ----------
    hidden : Tensor, shape (..., hidden)
    delta : Tensor, broadcast against `hidden`
        Multiplier times direction; converted to the type and device of `hidden`.
    preserve_norm : bool, default False
        Return ``(h + δ) · ‖h‖ / ‖h + δ‖`` (paper B section IV-D) instead of ``h + δ`` (paper A equation 2).
    terms : tuple of Tensor, optional
        Scale, read and write of a `SteeringMap`, broadcast like `delta`: adds ``scale * h - (read . h) write`` as well.

    Returns
    -------
    Tensor, shape of `hidden`
    """
    moved = hidden + delta.to(hidden)
    if terms is not None:
        scale, read, write = (each.to(hidden) for each in terms)
        moved = moved + (scale * hidden - (read * hidden).sum(dim=-1, keepdim=True) * write)
    if not preserve_norm:
        return moved
    norms = hidden.norm(dim=-1, keepdim=True, dtype=torch.float32)
    new_norms = moved.norm(dim=-1, keepdim=True, dtype=torch.float32).clamp_min(
        torch.finfo(torch.float32).tiny
    )
    return moved * (norms / new_norms).to(hidden.dtype)


class _Pass:
    """What the hooks of one context must know of the decoder's current pass.

    `begin` and `end` bracket each pass of the decoder stack; outside them the editors change nothing.
    """

    def __init__(self, steering: Steering, *, chroma_length: int) -> None:
        self.steering = steering
        self.chroma_length = chroma_length
        self.running = False
        self.steered = slice(None)  # positions of this pass
        self.rows: Tensor | None = None  # which rows to steer, of the generation under way; None steers all

    def begin(self, stack: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.steering.schedule is not None:
            raise ValueError(
                "a schedule acts in steerlib.generate, whose steps are frames: a pass of transformers does not say "
                "which frame it writes"
            )
        cache = kwargs.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        prefix = kwargs.get("encoder_hidden_states")
        is_prefix_part = not hasattr(
            stack.layers[0], "encoder_attn"
        )  # else the text comes by cross-attention
        prefix_length = prefix.shape[1] if past == 0 and prefix is not None and is_prefix_part else 0
        start = prefix_length if self.steering.positions == "audio" else 0
        stop = None if self.steering.steps == "all" else prefix_length + 1 if past == 0 else 0
        self.steered = slice(start, prefix_length if self.steering.positions == "prefix" else stop)
        if self.steering.branches != "both":
            if prefix is not None:
                self.rows = self._choose_rows(prefix[:, self.chroma_length if is_prefix_part else 0 :])
            elif past == 0 or self.rows is None:
                raise ValueError(
                    f"branches={self.steering.branches!r} needs the prompt's part of the sequence, but "
                    "this pass has none: open the context before generation starts, or use branches='both'"
                )
        self.running = True

    def end(self, *_: Any) -> None:
        self.running = False

    def editor(self, delta: Tensor, *terms: Tensor) -> Callable[..., Any]:
        """A forward hook that adds to the output of its module, a tensor or a tuple led by one: see `add_direction`."""
        rest: Any = terms or None

        def edit(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            if not self.running or self.steered.stop == 0:
                return None
            hidden = output[0] if isinstance(output, tuple) else output
            edited = hidden.clone()
            edited[:, self.steered] = add_direction(
                hidden[:, self.steered], delta, preserve_norm=self.steering.preserve_norm, terms=rest
            )
            if self.rows is not None:
                if len(self.rows) != len(hidden):
                    raise ValueError(
                        f"this pass has {len(hidden)} rows, the prefix before it had {len(self.rows)}: open "
                        "one steering context for each generation"
                    )
                edited = edited.where(self.rows[:, None, None], hidden)
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        return edit

    def _choose_rows(self, text: Tensor) -> Tensor:
        unconditional = (text == 0).flatten(1).all(1)
        if self.steering.branches == "conditional":
            return ~unconditional
        if not unconditional.any():
            raise ValueError(
                "branches='unconditional', but no row of this batch is unconditional: generate with "
                "guidance_scale > 1, or use branches='both'"
            )
        return unconditional


_ACTIVE: "weakref.WeakKeyDictionary[nn.Module, list[_Pass]]" = weakref.WeakKeyDictionary()


def _check_layer(layer: int, count: int, name: str) -> None:
    if isinstance(layer, bool) or not hasattr(layer, "__index__"):
        raise ValueError(f"{name}: a layer is a whole number from 0 to {count - 1}, got {layer!r}")
    if not 0 <= layer < count:
        raise ValueError(f"{name}: layer {layer} is outside the vector, whose layers are 0 to {count - 1}")


# --- files --------------------------------------------------------------------------------------------------


def load_edit(path: str | Path, *, model: Any = None) -> Edit:
    """Read what `SteeringVector.save` or `SteeringMap.save` wrote, whichever it was.

    Parameters, errors and warnings as for `SteeringVector.load`. The command ``steerlib steer`` uses it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            kinds = file.metadata() or {}
    except (OSError, SafetensorError):
        kinds = {}  # what is wrong, `SteeringVector.load` says
    return (SteeringMap if _MAP in kinds else SteeringVector).load(path, model=model)


def _write(path: str | Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"cannot write {path}: the folder {path.parent} does not exist; make it first"
        )
    header = {"format_version": _FORMAT_VERSION, "metadata": metadata}
    write_whole(path, to_safetensors(dict(tensors), {kind: json.dumps(header, sort_keys=True)}))


def _read(path: str | Path, kind: str, made: Callable[..., Any], names: Sequence[str], model: Any) -> Any:
    """The vector or map in a file, checked: see `SteeringVector.load`."""
    path, what = Path(path), "vector" if kind == _VECTOR else "map"
    if not path.is_file():
        raise FileNotFoundError(f"no {what} at {path}: the file does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(kind)
            tensors = [file.get_tensor(name) for name in names if name in list(file.keys())]
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file, or is damaged ({error}). Only files written by "
            f"{kind.split('.')[1]}.save are read; pickled files (.pt, .pkl) are refused because reading them "
            "can run code"
        ) from error
    if header is None or len(tensors) < len(names):
        raise ValueError(
            f"{path} is a safetensors file, but holds no steering {what}: give one by {kind.split('.')[1]}.save"
        )
    try:
        content = json.loads(header)
        version, metadata = int(content["format_version"]), dict(content["metadata"])
        found = made(*tensors, metadata)
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} holds no valid steering {what} ({type(error).__name__}: {error}): make it again with "
            f"{kind.split('.')[1]}.save"
        ) from error
    if version > _FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version}, this steerlib reads up to {_FORMAT_VERSION}: update "
            "steerlib"
        )
    if model is not None:
        check_shape(model, found.directions, str(path))
        theirs, ours = metadata.get("weights"), model_id(model)["weights"]
        if theirs is not None and theirs != ours:
            warnings.warn(
                f"{path} was taken from other weights ({metadata.get('model')}, {theirs}) than those of "
                f"this model ({ours}): its directions may mean nothing here",
                stacklevel=3,
            )
    return found
