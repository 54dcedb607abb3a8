"""Weight averaging over several networks.

If runs continue from each other, the mean of their weights is often better than any of them
(Izmailov et al., 2018; Wortsman et al., 2022), at no cost in inference.
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
    """Average each network with the mean of those before it, as far as validation faces gain.

    Each gets the share, one of `SHARES`, that has the lowest `calibrate.calibrated_loss`.

    Args:
        networks: with folded norms, in evaluation mode; not modified.
        validation: the validation faces of each data set.

    Returns:
        The mean, and each network's share in it; the shares add up to 1.
    """
    mean, shares = networks[0], [1.0]
    for other in networks[1:]:
        candidates = [_interpolated(mean, other, share) for share in SHARES]
        losses = [calibrated_loss([score(n, s) for s in validation]) for n in candidates]
        best = losses.index(min(losses))
        mean = candidates[best]
        shares = [*(share * (1 - SHARES[best]) for share in shares), SHARES[best]]
    return mean, tuple(shares)


def _interpolated(network: GiMeFive, other: GiMeFive, share: float) -> GiMeFive:
    """The network whose weights are `share` of the way from `network` to `other`."""
    ends = other.state_dict()
    mean = GiMeFive().eval()
    mean.load_state_dict(
        {
            name: value.lerp(ends[name], share) if value.is_floating_point() else value
            for name, value in network.state_dict().items()
        }
    )
    return mean
