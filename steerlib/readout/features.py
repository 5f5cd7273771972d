"""Sparse features: directions that nobody named, learnt from single states of the residual stream.

A top-k sparse autoencoder (Gao et al., 2024) writes each state as a sum of few of many features. Which feature, if any,
stands for an attribute is asked afterwards, of clips whose pole is known. Neither paper has it; it is what AxBench
(Wu et al., 2025) compares with directions that were made for their concept. Chapter: *Methods*.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from tqdm.auto import tqdm

from steerlib.steering import SteeringVector

__all__ = ["Feature", "SparseCode", "feature_for", "train_sparse"]


class SparseCode(nn.Module):
    """A dictionary of features, with the weights that find them in a state.

    Attributes
    ----------
    active : int
        Features that may make up one state.
    dictionary : Parameter, shape (features, hidden)
        Directions of length 1.
    """

    def __init__(self, hidden: int, features: int, active: int, *, seed: int) -> None:
        super().__init__()
        drawn = torch.randn(features, hidden, generator=torch.Generator().manual_seed(seed))
        self.active = active
        self.dictionary = nn.Parameter(F.normalize(drawn, dim=1))
        self.encoder = nn.Parameter(self.dictionary.detach().clone())
        self.threshold = nn.Parameter(torch.zeros(features))
        self.register_buffer("centre", torch.zeros(hidden))
        self.register_buffer("scale", torch.ones(()))
        self.centre: Tensor
        self.scale: Tensor

    def encode(self, states: Tensor) -> Tensor:
        """How much of each feature a state has, shape (..., features): at least 0, and 0 for all but `active`."""
        found = F.linear((states - self.centre) / self.scale, self.encoder, self.threshold)
        best = found.topk(self.active, dim=-1)
        return torch.zeros_like(found).scatter(-1, best.indices, best.values.relu())

    def decode(self, code: Tensor) -> Tensor:
        """The states (..., hidden) that a code stands for."""
        return code @ self.dictionary * self.scale + self.centre

    def explained(self, states: Tensor) -> float:
        """Share of the variance of states (N, hidden) that the code keeps."""
        with torch.inference_mode():
            left = (states - self.decode(self.encode(states))).square().sum()
            return float(1 - left / (states - states.mean(dim=0)).square().sum())


def train_sparse(
    states: Tensor,
    *,
    features: int = 1024,
    active: int = 16,
    steps: int = 600,
    batch: int = 512,
    rate: float = 1e-3,
    seed: int = 0,
    progress: bool = True,
) -> SparseCode:
    """Learn a dictionary of the states of one layer.

    Parameters
    ----------
    states : Tensor, shape (N, hidden)
        As of `steerlib.activations.audio_states`, clips and frames in one axis.
    features, active : int
        Size of the dictionary, and how many of it may make up one state.
    steps, batch : int
        Of Adam; a batch is drawn anew each time, with replacement.
    rate : float
    seed : int
    progress : bool, default True

    Returns
    -------
    SparseCode

    Raises
    ------
    ValueError
        If there are no two states, or more active features than there are.
    """
    if states.ndim != 2 or len(states) < 2:
        raise ValueError(f"states must have shape (N, hidden) with two or more, got {tuple(states.shape)}")
    if not 1 <= active <= features:
        raise ValueError(f"active must be between 1 and the {features} features, got {active}")
    code = SparseCode(states.shape[1], features, active, seed=seed)
    code.centre.copy_(states.mean(dim=0))
    code.scale.copy_((states - code.centre).square().mean().sqrt())
    optimiser = torch.optim.Adam(code.parameters(), lr=rate)
    draws = torch.Generator().manual_seed(seed)
    with tqdm(total=steps, desc="features", disable=not progress) as bar:
        for _ in range(steps):
            some = states[torch.randint(len(states), (batch,), generator=draws)]
            loss = ((code.decode(code.encode(some)) - some) / code.scale).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                code.dictionary.copy_(F.normalize(code.dictionary, dim=1))
            bar.update()
    return code.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class Feature:
    """The two features that tell an attribute's poles apart best.

    Attributes
    ----------
    vector : SteeringVector
        The positive pole's feature minus the negative pole's, at every layer, as long as a typical state.
    numbers : tuple of int
        Of the features in the dictionary, positive pole first.
    auc : tuple of float
        How well each alone tells its pole from the other in the clips that it was chosen from.
    """

    vector: SteeringVector
    numbers: tuple[int, int]
    auc: tuple[float, float]


def feature_for(code: SparseCode, states: Tensor, labels: Tensor, *, layers: int) -> Feature:
    """Find the features that stand for the poles of an attribute.

    Parameters
    ----------
    code : SparseCode
    states : Tensor, shape (clips, frames, hidden)
        Of clips whose pole is known, at the layer of the `code`.
    labels : Tensor, shape (clips,), bool
        True for the positive pole.
    layers : int
        Of the model: the vector has a row for each.

    Returns
    -------
    Feature

    Raises
    ------
    ValueError
        If a pole has no clips.
    """
    if labels.all() or not labels.any():
        raise ValueError("a feature is chosen from clips of both poles, but all labels are the same")
    with torch.inference_mode():
        heard = code.encode(states).mean(dim=1)  # (clips, features)
    areas = torch.tensor([roc_auc_score(labels.numpy(), each) for each in heard.T.numpy()])
    positive, negative = int(areas.argmax()), int(areas.argmin())
    direction = F.normalize(code.dictionary[positive] - code.dictionary[negative], dim=0)
    length = states.norm(dim=-1).mean()
    vector = SteeringVector(
        (direction * length).expand(layers, -1), {"method": "sparse feature", "features": [positive, negative]}
    )
    return Feature(vector, (positive, negative), (float(areas[positive]), float(1 - areas[negative])))
