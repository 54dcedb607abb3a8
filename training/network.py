"""The GiMeFive network, exactly as published (Wang and Kawka, 2024, arXiv 2402.15662)."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

EMOTIONS = ("happiness", "surprise", "sadness", "anger", "disgust", "fear")
INPUT_SIZE = 64
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class GiMeFive(nn.Module):
    """Five convolution blocks and three linear layers: 10,478,086 parameters.

    The network takes grey faces with values 0 to 255. It scales them, repeats them to three
    channels and normalises them itself, so that no caller can preprocess them wrongly. It can be
    scripted; `features` and `head` split it at any convolution, as Grad-CAM and related methods
    need.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __init__(self) -> None:
        super().__init__()
        self.mean = MEAN
        self.std = STD
        self.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 128, kernel_size=3, padding=1)
        self.bn2 = nn.BatchNorm2d(128)
        self.conv3 = nn.Conv2d(128, 256, kernel_size=3, padding=1)
        self.bn3 = nn.BatchNorm2d(256)
        self.conv4 = nn.Conv2d(256, 512, kernel_size=3, padding=1)
        self.bn4 = nn.BatchNorm2d(512)
        self.conv5 = nn.Conv2d(512, 1024, kernel_size=3, padding=1)
        self.bn5 = nn.BatchNorm2d(1024)
        self.dropout = nn.Dropout(0.2)
        self.fc1 = nn.Linear(1024, 2048)
        self.dropout_fc = nn.Dropout(0.5)
        self.fc2 = nn.Linear(2048, 1024)
        self.fc3 = nn.Linear(1024, len(EMOTIONS))

    def forward(self, faces: Tensor) -> Tensor:
        """Classify grey faces.

        Args:
            faces: ``[N, H, W]`` or ``[N, 1, H, W]``, uint8 or floating, values 0 to 255. The
                published input is 64x64; global pooling allows any size from 32 up.

        Returns:
            Logits ``[N, 6]`` in the order of `EMOTIONS`, in the dtype of the weights.
        """
        return self.head(self.features(faces, 5), 5)

    @torch.jit.export
    def normalise(self, faces: Tensor) -> Tensor:
        """Normalised inputs ``[N, 3, H, W]`` from faces as for `forward`."""
        if faces.dim() == 4:
            faces = faces.squeeze(1)
        grey = faces.to(self.conv1.weight.dtype) / 255.0
        return torch.stack(
            [
                (grey - self.mean[0]) / self.std[0],
                (grey - self.mean[1]) / self.std[1],
                (grey - self.mean[2]) / self.std[2],
            ],
            dim=1,
        )

    @torch.jit.export
    def features(self, faces: Tensor, layer: int) -> Tensor:
        """The output of convolution `layer` (1 to 5), before its batch norm.

        Args:
            faces: as for `forward`.
            layer: 1 to 5.

        Returns:
            Feature maps ``[N, C, h, w]``: for 64x64 faces ``[N, 64, 64, 64]`` at layer 1 down to
            ``[N, 1024, 4, 4]`` at layer 5, the map that the paper explains.
        """
        maps: Tensor = self.conv1(self.normalise(faces))
        if layer > 1:
            maps = self.conv2(self.dropout(self._pool(self.bn1(maps))))
        if layer > 2:
            maps = self.conv3(self.dropout(self._pool(self.bn2(maps))))
        if layer > 3:
            maps = self.conv4(self.dropout(self._pool(self.bn3(maps))))
        if layer > 4:
            maps = self.conv5(self.dropout(self._pool(self.bn4(maps))))
        return maps

    @torch.jit.export
    def head(self, maps: Tensor, layer: int) -> Tensor:
        """Logits ``[N, 6]`` from the feature maps that `features` returns for `layer`."""
        if layer < 2:
            maps = self.conv2(self.dropout(self._pool(self.bn1(maps))))
        if layer < 3:
            maps = self.conv3(self.dropout(self._pool(self.bn2(maps))))
        if layer < 4:
            maps = self.conv4(self.dropout(self._pool(self.bn3(maps))))
        if layer < 5:
            maps = self.conv5(self.dropout(self._pool(self.bn4(maps))))
        pooled = self._pool(self.bn5(maps)).mean(dim=(2, 3))
        hidden = self.dropout_fc(functional.relu(self.fc1(pooled)))
        logits: Tensor = self.fc3(functional.relu(self.fc2(hidden)))
        return logits

    def _pool(self, maps: Tensor) -> Tensor:
        # in this order a quarter of the values is rectified, with the same result
        return functional.relu(functional.max_pool2d(maps, kernel_size=2), inplace=True)


def with_folded_norms(network: GiMeFive) -> GiMeFive:
    """The same function of faces, with batch norms folded into the convolutions before them.

    A norm removes any constant offset of a convolution's output. Grad-CAM, which the paper computes
    before the norm, would weight that arbitrary offset too, and clip the map at a meaningless
    level. With folded norms, an output is 0 where its unit activates. The norms remain, as
    identities.

    Args:
        network: in evaluation mode; not modified.
    """
    state = dict(network.state_dict())
    eps = network.bn1.eps
    for conv, norm in ((f"conv{layer}", f"bn{layer}") for layer in range(1, 6)):
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        scale = state[f"{norm}.weight"] / torch.sqrt(variance + eps)
        state[f"{conv}.weight"] = state[f"{conv}.weight"] * scale[:, None, None, None]
        state[f"{conv}.bias"] = (state[f"{conv}.bias"] - mean) * scale + state[f"{norm}.bias"]
        state[f"{norm}.weight"] = torch.ones_like(mean)
        state[f"{norm}.bias"] = state[f"{norm}.running_mean"] = torch.zeros_like(mean)
        state[f"{norm}.running_var"] = torch.full_like(variance, 1 - eps)
    folded = GiMeFive().eval()
    folded.load_state_dict(state)
    return folded


def with_offsets(network: GiMeFive, offsets: Sequence[float]) -> GiMeFive:
    """A copy of the network with `offsets` added to its logits."""
    shifted = deepcopy(network)
    with torch.no_grad():
        shifted.fc3.bias.add_(torch.tensor(offsets))
    return shifted


def with_measured_norms(network: GiMeFive, faces: Tensor) -> GiMeFive:
    """The inverse of `with_folded_norms`: the same function of faces, with norms for training.

    Args:
        network: with folded norms; not modified.
        faces: uint8 ``[N, H, W]``, from whose feature maps the norms' statistics are estimated.
    """
    measured = deepcopy(network).eval()
    norms = (measured.bn1, measured.bn2, measured.bn3, measured.bn4, measured.bn5)
    for layer, norm in enumerate(norms, start=1):
        with torch.no_grad():
            variance, mean = torch.var_mean(measured.features(faces, layer), dim=(0, 2, 3))
        state = {"running_mean": mean, "running_var": variance}
        state |= {"weight": torch.sqrt(variance + norm.eps), "bias": mean}
        norm.load_state_dict(norm.state_dict() | state)
    return measured


def compiled(network: nn.Module, device: torch.device) -> nn.Module:
    """The same function of inputs, with the same weights, compiled for `device` if it is a GPU.

    Fused kernels move feature maps through memory less often. Each shape of inputs is compiled at
    its first call.
    """
    if device.type != "cuda":
        return network
    return torch.compile(network, dynamic=False)  # type: ignore[return-value]  # of a module: a module


def logits_of(
    network: nn.Module, faces: Tensor, device: torch.device | str = "cpu", batch: int = 32
) -> Tensor:
    """Logits float32 ``[N, 6]``, on the CPU, of faces ``[N, H, W]``; evaluates in batches."""
    training = network.training
    network.eval()
    parts = torch.split(faces, batch)
    with torch.inference_mode():
        logits = [network(part.to(device)).float().cpu() for part in parts]
    network.train(training)
    return torch.cat(logits)
