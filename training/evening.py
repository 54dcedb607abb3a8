"""Rare emotions of a data set, answered as if they were less rare there.

A network learns how frequent each emotion is in every data set, and that faces which look like
those of one set show its emotions as often as they do. Subtracting the logarithms of these
frequencies from the logits undoes that (Menon et al., *Long-tail learning via logit adjustment*,
arXiv 2007.07314): it costs accuracy on that set and gains macro recall.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.artefact import score
from training.data import FaceSet
from training.errors import DataError
from training.network import EMOTIONS, GiMeFive

RIDGE = 1e-3
"""Keeps finite what the faces do not determine, relative to the mean square of a hidden unit."""


def evened(network: GiMeFive, sets: Sequence[FaceSet], shares: Mapping[str, float]) -> GiMeFive:
    """A copy of the network that answers as if some data sets had more even frequencies.

    How much a face belongs to each set is estimated by least squares from the last hidden layer, so
    the change is one of the last layer's weights.

    Args:
        network: in evaluation mode; not modified.
        sets: the training faces of each data set.
        shares: by name of a set, how much of the logarithms of its frequencies to remove: 0 is
            none, at 1 all emotions count as equally frequent. Other sets keep their frequencies.

    Raises:
        DataError: there is no set of such a name, or it does not show every emotion.
    """
    changes = torch.zeros(len(sets), len(EMOTIONS), dtype=torch.float64)
    names = [faces.name for faces in sets]
    for name, share in shares.items():
        if name not in names:
            raise DataError(f"there is no data set {name} to even out: there are {names}")
        which = names.index(name)
        changes[which] = -share * _log_frequencies(sets[which])
    change = _membership(network, sets) @ changes
    copy = deepcopy(network)
    with torch.no_grad():
        copy.fc3.weight.add_(change[:-1].T)
        copy.fc3.bias.add_(change[-1])
    return copy


def _log_frequencies(faces: FaceSet) -> Tensor:
    """The logarithm of each emotion's frequency, zero on average, float64 ``[6]``."""
    counts = np.bincount(faces.labels, minlength=len(EMOTIONS))
    if not counts.all():
        raise DataError(f"{faces.name} does not show every emotion, so it cannot be evened out")
    logarithms = torch.from_numpy(np.log(counts))
    return logarithms - logarithms.mean()


def _membership(network: GiMeFive, sets: Sequence[FaceSet]) -> Tensor:
    """A linear map from the last hidden layer and a constant to sets, float64 ``[1025, S]``.

    It comes closest to 1 for the faces of a set and to 0 for those of the others, by mean square
    with equal weight for every set.
    """
    trunk = deepcopy(network)
    trunk.fc3 = nn.Identity()  # type: ignore[assignment]  # the trunk is only run
    parts = [torch.from_numpy(score(trunk, faces).logits) for faces in sets]
    hidden = [functional.pad(part, (0, 1), value=1.0) for part in parts]
    gram = torch.stack([part.T @ part / len(part) for part in hidden]).sum(dim=0)
    penalty = torch.full((len(gram),), RIDGE * float(gram.diagonal()[:-1].mean()))
    penalty[-1] = 0
    means = torch.stack([part.mean(dim=0) for part in hidden], dim=1)
    solution: Tensor = torch.linalg.solve(gram + penalty.diag(), means)
    return solution
