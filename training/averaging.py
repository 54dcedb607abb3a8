"""One network out of several that one long training led through.

Where runs went on from each other, the mean of their weights is often better than each of them
(Izmailov et al., 2018; Wortsman et al., 2022), and costs nothing when it is used.
"""

from collections.abc import Sequence

from training.artefact import score
from training.calibrate import calibrated_loss
from training.data import FaceSet
from training.network import GiMeFive

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def averaged(
    networks: Sequence[GiMeFive], validation: Sequence[FaceSet]
) -> tuple[GiMeFive, tuple[float, ...]]:
    """Take each network into the mean of those before it, as far as validation faces gain.

    Args:
        networks: with folded norms, in evaluation mode; they stay as they are.
        validation: faces that `calibrate.calibrated_loss` is taken of.

    Returns:
        The mean, and the share that each network has in it; they add up to 1.
    """
    mean, shares = networks[0], [1.0]
    for other in networks[1:]:
        candidates = [_between(mean, other, share) for share in SHARES]
        losses = [calibrated_loss([score(n, s) for s in validation]) for n in candidates]
        best = losses.index(min(losses))
        mean = candidates[best]
        shares = [*(share * (1 - SHARES[best]) for share in shares), SHARES[best]]
    return mean, tuple(shares)


def _between(network: GiMeFive, other: GiMeFive, share: float) -> GiMeFive:
    """The network whose weights are `share` of the way from one's to the other's."""
    ends = other.state_dict()
    between = GiMeFive().eval()
    between.load_state_dict(
        {
            name: value.lerp(ends[name], share) if value.is_floating_point() else value
            for name, value in network.state_dict().items()
        }
    )
    return between
