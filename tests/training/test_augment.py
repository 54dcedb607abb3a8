"""Augmentation does what its amounts say, and chance comes from the generator alone."""

import pytest
import torch
from PIL import Image

from tests.training.generated import noise_faces
from training.augment import SIGMA, Augmentation, resize

NONE = Augmentation(flip=0, rotation=0, scale=0, shift=0, contrast=0, brightness=0, erasing=0)
FACES = torch.from_numpy(noise_faces("set", each=4).faces)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_amount(**amounts: float) -> Augmentation:
    return Augmentation(**{**NONE.__dict__, **amounts})


def test_without_any_amount_faces_stay_as_they_are() -> None:
    torch.testing.assert_close(NONE(FACES, 64, seeded()), FACES.float(), atol=1e-3, rtol=0)


def test_without_any_amount_another_size_is_a_plain_resize() -> None:
    # At half the size each new pixel is the mean of four, however one interpolates.
    halves = FACES.float().unfold(1, 2, 2).unfold(2, 2, 2).mean(dim=(3, 4))
    torch.testing.assert_close(NONE(FACES, 32, seeded()), halves, atol=1e-3, rtol=0)


def test_the_generator_decides_everything() -> None:
    augmentation = Augmentation()
    first = augmentation(FACES, 48, seeded(1))
    torch.manual_seed(5)
    assert torch.equal(first, augmentation(FACES, 48, seeded(1)))
    assert not torch.equal(first, augmentation(FACES, 48, seeded(2)))


def test_a_certain_flip_mirrors_every_face() -> None:
    flipped = with_amount(flip=1)(FACES, 64, seeded())
    torch.testing.assert_close(flipped, FACES.flip(2).float(), atol=1e-2, rtol=0)


def test_half_a_chance_of_a_flip_mirrors_about_half() -> None:
    faces = FACES[:1].expand(400, -1, -1)
    flipped = with_amount(flip=0.5)(faces, 64, seeded())
    mirrored = (flipped - FACES[:1].flip(2)).abs().amax(dim=(1, 2)) < 1
    assert 160 < int(mirrored.sum()) < 240


def test_certain_erasing_paints_one_rectangle_of_one_grey() -> None:
    faces = torch.full((200, 64, 64), 100, dtype=torch.uint8)
    erased = with_amount(erasing=1)(faces, 64, seeded())
    for face in erased:
        painted = face != 100
        rows, columns = painted.any(dim=1), painted.any(dim=0)
        assert torch.equal(painted, rows[:, None] & columns)
        assert len(face[painted].unique()) <= 1
        assert 0.01 < painted.float().mean() < 0.23


def test_brightness_moves_a_whole_face_by_no_more_than_its_amount() -> None:
    faces = torch.full((300, 64, 64), 128, dtype=torch.uint8)
    means = with_amount(brightness=0.1)(faces, 64, seeded()).mean(dim=(1, 2))
    assert float((means - 128).abs().max()) <= 25.6
    assert float(means.max() - means.min()) > 40


def test_contrast_keeps_the_mean_and_scales_the_spread() -> None:
    faces = FACES[:1].expand(300, -1, -1)
    changed = with_amount(contrast=0.2)(faces, 64, seeded())
    spread = changed.std(dim=(1, 2)) / FACES[0].float().std()
    torch.testing.assert_close(changed.mean(dim=(1, 2)), FACES[0].float().mean().expand(300))
    assert 0.79 < float(spread.min()) < 0.85
    assert 1.15 < float(spread.max()) < 1.21


def spots(faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the one spot of each face is, in x and y, in pixels from the middle."""
    at = torch.arange(64.0) - 31.5
    total = faces.sum(dim=(1, 2))
    return (faces.sum(dim=1) @ at) / total, (faces.sum(dim=2) @ at) / total


def spotted(x: int, y: int) -> torch.Tensor:
    """Faces that are black but for a small spot."""
    faces = torch.zeros(300, 64, 64, dtype=torch.uint8)
    faces[:, 31 + y : 33 + y, 31 + x : 33 + x] = 255
    return faces


def test_a_shift_moves_a_spot_by_no_more_than_its_part_of_the_side() -> None:
    for where in spots(with_amount(shift=0.1)(spotted(0, 0), 64, seeded())):
        assert 5 < float(where.abs().max()) <= 6.45


def test_a_rotation_moves_a_spot_along_its_circle_by_no_more_than_its_degrees() -> None:
    x, y = spots(with_amount(rotation=30)(spotted(20, 0), 64, seeded()))
    torch.testing.assert_close(torch.hypot(x, y), torch.full((300,), 20.0), atol=0.3, rtol=0)
    degrees = torch.rad2deg(torch.atan2(y, x))
    assert -30.5 < float(degrees.min()) < -28
    assert 28 < float(degrees.max()) < 30.5


def test_a_scale_moves_a_spot_along_its_ray_by_no_more_than_its_part() -> None:
    x, y = spots(with_amount(scale=0.2)(spotted(20, 10), 64, seeded()))
    torch.testing.assert_close(y / x, torch.full((300,), 0.5), atol=0.02, rtol=0)
    assert 0.78 < float(x.min()) / 20 < 0.83
    assert 1.17 < float(x.max()) / 20 < 1.22


def test_a_rotation_keeps_a_centred_disc() -> None:
    at = torch.arange(64.0) - 31.5
    disc = ((at[:, None] ** 2 + at**2 < 20**2) * 200).to(torch.uint8)[None].expand(20, -1, -1)
    turned = with_amount(rotation=45)(disc, 64, seeded())
    inside = at[:, None] ** 2 + at**2 < 18**2
    assert float((turned - disc)[:, inside].abs().max()) < 1e-3


def test_values_stay_in_range() -> None:
    wild = Augmentation(contrast=0.9, brightness=0.9)(FACES, 64, seeded())
    assert float(wild.min()) >= 0
    assert float(wild.max()) <= 255


def test_resize_agrees_with_pil() -> None:
    for face, found in zip(FACES.numpy(), resize(FACES, 40).numpy(), strict=True):
        expected = Image.fromarray(face).resize((40, 40), Image.Resampling.BILINEAR)
        assert abs(found - expected).max() <= 1


def test_certain_blur_spreads_a_spot_by_no_more_than_its_strongest_and_keeps_its_light() -> None:
    faces = torch.zeros(300, 64, 64, dtype=torch.uint8)
    faces[:, 32, 20] = 255
    blurred = with_amount(blur=1)(faces, 64, seeded())
    torch.testing.assert_close(
        blurred.sum(dim=(1, 2)), torch.full((300,), 255.0), atol=1e-2, rtol=0
    )
    at = torch.arange(64.0)
    for profile, centre in ((blurred.sum(dim=2), 32), (blurred.sum(dim=1), 20)):
        sigmas = (profile / 255 @ (at - centre) ** 2).sqrt()
        assert float(sigmas.max()) <= SIGMA
        assert float(sigmas.median()) == pytest.approx(SIGMA / 2, rel=0.1)


def test_blur_keeps_what_is_even_and_leaves_the_others_sharp() -> None:
    even = torch.full((4, 64, 64), 90, dtype=torch.uint8)
    torch.testing.assert_close(with_amount(blur=1)(even, 64, seeded()), even.float())
    blurred = with_amount(blur=0.5)(FACES[:1].expand(400, -1, -1), 64, seeded())
    sharp = (blurred - FACES[:1]).abs().amax(dim=(1, 2)) < 1e-2
    assert 160 < int(sharp.sum()) < 240


def test_a_face_that_is_mirrored_and_turned_keeps_its_shape() -> None:
    x, y = spots(with_amount(flip=1, rotation=30)(spotted(14, 14), 64, seeded()))
    expected = torch.full((300,), 14 * 2**0.5)
    torch.testing.assert_close(torch.hypot(x, y), expected, atol=0.3, rtol=0)
