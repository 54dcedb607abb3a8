"""Each augmentation stays within its amount, and only the generator makes it random."""

import pytest
import torch
from PIL import Image

from tests.training.generated import noise_faces
from training.augment import SIGMA, Augmentation, resize

NO_AUGMENTATION = Augmentation(
    flip=0, rotation=0, scale=0, shift=0, contrast=0, brightness=0, erasing=0
)
FACES = torch.from_numpy(noise_faces("set", each=4).faces)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def only(**amounts: float) -> Augmentation:
    return Augmentation(**{**NO_AUGMENTATION.__dict__, **amounts})


def test_zero_amounts_leave_faces_unchanged() -> None:
    torch.testing.assert_close(
        NO_AUGMENTATION(FACES, 64, seeded()), FACES.float(), atol=1e-3, rtol=0
    )


def test_zero_amounts_at_another_size_only_resize() -> None:
    # At half the size each pixel is the mean of four, with any interpolation.
    halves = FACES.float().unfold(1, 2, 2).unfold(2, 2, 2).mean(dim=(3, 4))
    torch.testing.assert_close(NO_AUGMENTATION(FACES, 32, seeded()), halves, atol=1e-3, rtol=0)


def test_augmentation_is_determined_by_the_generator() -> None:
    augmentation = Augmentation()
    first = augmentation(FACES, 48, seeded(1))
    torch.manual_seed(5)
    assert torch.equal(first, augmentation(FACES, 48, seeded(1)))
    assert not torch.equal(first, augmentation(FACES, 48, seeded(2)))


def test_flip_probability_one_mirrors_every_face() -> None:
    flipped = only(flip=1)(FACES, 64, seeded())
    torch.testing.assert_close(flipped, FACES.flip(2).float(), atol=1e-2, rtol=0)


def test_flip_probability_half_mirrors_about_half_of_the_faces() -> None:
    faces = FACES[:1].expand(400, -1, -1)
    flipped = only(flip=0.5)(faces, 64, seeded())
    mirrored = (flipped - FACES[:1].flip(2)).abs().amax(dim=(1, 2)) < 1
    assert 160 < int(mirrored.sum()) < 240


def test_erasing_fills_one_rectangle_with_one_grey() -> None:
    faces = torch.full((200, 64, 64), 100, dtype=torch.uint8)
    erased = only(erasing=1)(faces, 64, seeded())
    for face in erased:
        painted = face != 100
        rows, columns = painted.any(dim=1), painted.any(dim=0)
        assert torch.equal(painted, rows[:, None] & columns)
        assert len(face[painted].unique()) <= 1
        assert 0.01 < painted.float().mean() < 0.23


def test_brightness_shifts_the_mean_within_its_amount() -> None:
    faces = torch.full((300, 64, 64), 128, dtype=torch.uint8)
    means = only(brightness=0.1)(faces, 64, seeded()).mean(dim=(1, 2))
    assert float((means - 128).abs().max()) <= 25.6
    assert float(means.max() - means.min()) > 40


def test_contrast_keeps_the_mean_and_scales_the_deviation_within_its_amount() -> None:
    faces = FACES[:1].expand(300, -1, -1)
    changed = only(contrast=0.2)(faces, 64, seeded())
    spread = changed.std(dim=(1, 2)) / FACES[0].float().std()
    torch.testing.assert_close(changed.mean(dim=(1, 2)), FACES[0].float().mean().expand(300))
    assert 0.79 < float(spread.min()) < 0.85
    assert 1.15 < float(spread.max()) < 1.21


def spot_positions(faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The position of each face's spot, in x and y, in pixels from the centre."""
    at = torch.arange(64.0) - 31.5
    total = faces.sum(dim=(1, 2))
    return (faces.sum(dim=1) @ at) / total, (faces.sum(dim=2) @ at) / total


def spot_faces(x: int, y: int) -> torch.Tensor:
    """Black faces with a small white spot."""
    faces = torch.zeros(300, 64, 64, dtype=torch.uint8)
    faces[:, 31 + y : 33 + y, 31 + x : 33 + x] = 255
    return faces


def test_shift_is_within_its_share_of_the_side() -> None:
    for positions in spot_positions(only(shift=0.1)(spot_faces(0, 0), 64, seeded())):
        assert 5 < float(positions.abs().max()) <= 6.45


def test_rotation_keeps_the_radius_and_is_within_its_degrees() -> None:
    x, y = spot_positions(only(rotation=30)(spot_faces(20, 0), 64, seeded()))
    torch.testing.assert_close(torch.hypot(x, y), torch.full((300,), 20.0), atol=0.3, rtol=0)
    degrees = torch.rad2deg(torch.atan2(y, x))
    assert -30.5 < float(degrees.min()) < -28
    assert 28 < float(degrees.max()) < 30.5


def test_scale_keeps_the_direction_and_is_within_its_amount() -> None:
    x, y = spot_positions(only(scale=0.2)(spot_faces(20, 10), 64, seeded()))
    torch.testing.assert_close(y / x, torch.full((300,), 0.5), atol=0.02, rtol=0)
    assert 0.78 < float(x.min()) / 20 < 0.83
    assert 1.17 < float(x.max()) / 20 < 1.22


def test_rotation_leaves_a_centred_disc_unchanged() -> None:
    at = torch.arange(64.0) - 31.5
    disc = ((at[:, None] ** 2 + at**2 < 20**2) * 200).to(torch.uint8)[None].expand(20, -1, -1)
    turned = only(rotation=45)(disc, 64, seeded())
    inside = at[:, None] ** 2 + at**2 < 18**2
    assert float((turned - disc)[:, inside].abs().max()) < 1e-3


def test_augmented_values_stay_between_0_and_255() -> None:
    changed = Augmentation(contrast=0.9, brightness=0.9)(FACES, 64, seeded())
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 255


def test_resize_agrees_with_pil() -> None:
    for face, found in zip(FACES.numpy(), resize(FACES, 40).numpy(), strict=True):
        expected = Image.fromarray(face).resize((40, 40), Image.Resampling.BILINEAR)
        assert abs(found - expected).max() <= 1


def test_blur_is_within_the_largest_sigma_and_keeps_total_brightness() -> None:
    faces = torch.zeros(300, 64, 64, dtype=torch.uint8)
    faces[:, 32, 20] = 255
    blurred = only(blur=1)(faces, 64, seeded())
    torch.testing.assert_close(
        blurred.sum(dim=(1, 2)), torch.full((300,), 255.0), atol=1e-2, rtol=0
    )
    at = torch.arange(64.0)
    for profile, centre in ((blurred.sum(dim=2), 32), (blurred.sum(dim=1), 20)):
        sigmas = (profile / 255 @ (at - centre) ** 2).sqrt()
        assert float(sigmas.max()) <= SIGMA
        assert float(sigmas.median()) == pytest.approx(SIGMA / 2, rel=0.1)


def test_blur_leaves_uniform_faces_unchanged_and_follows_its_probability() -> None:
    even = torch.full((4, 64, 64), 90, dtype=torch.uint8)
    torch.testing.assert_close(only(blur=1)(even, 64, seeded()), even.float())
    blurred = only(blur=0.5)(FACES[:1].expand(400, -1, -1), 64, seeded())
    sharp = (blurred - FACES[:1]).abs().amax(dim=(1, 2)) < 1e-2
    assert 160 < int(sharp.sum()) < 240


def test_flip_with_rotation_keeps_the_distance_from_the_centre() -> None:
    x, y = spot_positions(only(flip=1, rotation=30)(spot_faces(14, 14), 64, seeded()))
    expected = torch.full((300,), 14 * 2**0.5)
    torch.testing.assert_close(torch.hypot(x, y), expected, atol=0.3, rtol=0)
