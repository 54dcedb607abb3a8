"""Emotions that are rare in a data set, answered as if they were less rare there.

A network learns how frequent each emotion is in every data set, and answers faces that look like
those of a set accordingly. Subtracting the logarithms of the frequencies from the logits undoes
that (logit adjustment; Menon et al., arXiv 2007.07314). Here only emotions that fewer than one face
in six shows are changed: raising these gains most of the macro recall and costs fewer points of
accuracy and calibration than lowering the frequent ones, too.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training import metrics
from training.artefact import score
from training.data import FaceSet
from training.errors import DataError
from training.network import EMOTIONS, GiMeFive

RIDGE = 1e-3
"""Keeps finite what the faces do not determine, relative to the mean square of a hidden unit."""


def evened(network: GiMeFive, sets: Sequence[FaceSet], shares: Mapping[str, float]) -> GiMeFive:
    """The network that answers as if some data sets had more even frequencies.

    How much a face belongs to each set is estimated by least squares from the last hidden layer, so
    the change is one of the last layer's weights.

    Args:
        network: in evaluation mode; not modified.
        sets: the training faces of each data set.
        shares: by name of a set, how far to even it out; see `weights`. Other sets are not changed.
            A negative share takes back that much.

    Raises:
        DataError: there is no set of such a name.
    """
    names = [faces.name for faces in sets]
    unknown = set(shares) - set(names)
    if unknown:
        raise DataError(f"cannot even out {', '.join(unknown)}: the data sets are {names}")
    if not any(shares.values()):
        return network
    gains = np.log([weights(faces.labels, shares.get(faces.name, 0.0)) for faces in sets])
    change = _membership(network, sets) @ torch.from_numpy(gains)
    copy = deepcopy(network)
    with torch.no_grad():
        copy.fc3.weight.add_(change[:-1].T)
        copy.fc3.bias.add_(change[-1])
    return copy


def weights(labels: metrics.Labels, share: float) -> metrics.Values:
    """How much each emotion counts, float64 ``[6]``, if rare ones are evened out.

    Those that at least one face in six shows count once. At a `share` of 0 so do the others, and at
    1 as if one face in six showed them.
    """
    counts = np.bincount(labels, minlength=len(EMOTIONS)).clip(min=1)
    even = len(labels) / len(EMOTIONS)
    counted: metrics.Values = np.minimum(counts / even, 1.0) ** -share
    return counted


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
