import cv2
import numpy as np
import pytest
from PIL import Image

from curation.align import (
    TEMPLATE,
    BoxFrame,
    EyeFrame,
    Region,
    TemplateFrame,
    cut,
    eye_angle_deg,
    eyes_of,
    fitted,
    inner_size,
    landmark_error,
    padded,
    share_outside,
    supposed_upright,
)
from curation.detect import Box, Face


def turn(points, angle_deg, centre=(0.0, 0.0)):
    """Turn points clockwise as one sees them, y pointing down."""
    angle = np.deg2rad(angle_deg)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (np.asarray(points, float) - centre) @ matrix.T + centre


def face_with(landmarks, side=100.0):
    landmarks = np.asarray(landmarks, np.float32)
    points = np.full((5, 2), np.nan, np.float32)
    points[: len(landmarks)] = landmarks
    x, y = landmarks.mean(0)
    return Face(Box(float(x) - side / 2, float(y) - side / 2, side, side), 0.9, points)


def eyes_at(left, right, side=100.0):
    return face_with([left, right], side)


def smooth(height=240, width=260):
    """A picture without detail finer than eight pixels, so that resampling hardly changes it."""
    y, x = np.mgrid[:height, :width]
    waves = [120 + 60 * np.sin(x / a) + 60 * np.cos(y / b) for a, b in ((9, 11), (13, 8), (10, 15))]
    return np.stack(waves, 2).clip(0, 255).astype(np.uint8)


def noise(number, height=40, width=40):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def box_region(box, *, margin=0.0, down=0.0):
    return fitted(BoxFrame(margin=margin, down=down)(Face(Box(*box))), "square")


def crop(image, box, size, **settings):
    return cut(image, box_region(box, **settings), width=size, height=size)


def test_a_crop_without_scaling_takes_the_pixels_as_they_are():
    image = noise(1)
    np.testing.assert_array_equal(crop(image, (5, 7, 20, 20), 20), image[7:27, 5:25])


def test_margin_and_shift_are_shares_of_the_longer_side():
    image = noise(2, 100, 100)
    # side 20, margin 4 each side → 28; the centre (40, 45) moves down by 2
    wide = crop(image, (30, 37, 20, 16), 28, margin=0.2, down=0.1)
    np.testing.assert_array_equal(wide, image[33:61, 26:54])
    closer = crop(image, (30, 37, 20, 16), 10, margin=-0.25)
    np.testing.assert_array_equal(closer, image[40:50, 35:45])


@pytest.mark.parametrize(
    ("left", "top"), [(-6, 10), (10, -6), (25, 12), (12, 25), (-8, -8), (28, 28)]
)
@pytest.mark.parametrize("turned", [False, True])
def test_what_lies_beyond_the_border_is_mirrored_in(left, top, turned):
    image = noise(3)
    region = box_region((left, top, 20, 20))
    # on the warp's side, points at whole pixels: two for each would average neighbours
    size = 40 if turned else 20
    found = cut(image, region, width=size, height=size, turned=turned)
    mirrored = np.pad(image, ((20, 20), (20, 20), (0, 0)), "reflect")
    expected = mirrored[top + 20 : top + 40, left + 20 : left + 40]
    if turned:  # each pixel of the picture became four
        found = cv2.resize(found, (20, 20), interpolation=cv2.INTER_AREA)
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("turned", [False, True])
def test_nothing_draws_black_into_a_bright_picture(turned):
    rng = np.random.default_rng(4)
    bright = np.full((30, 50, 3), 200, np.uint8)
    for _ in range(200):
        x, y = rng.uniform(-60, 60, 2)
        width, height = rng.uniform(3, 120, 2)
        angle = rng.uniform(-180, 180) if turned else 0.0
        region = Region(x, y, width, height, angle)
        found = cut(bright, region, width=16, height=20, turned=turned)
        assert found.shape == (20, 16, 3)
        assert (found == 200).all()


@pytest.mark.parametrize("turned", [False, True])
def test_beyond_the_border_the_edge_goes_on_or_all_is_black(turned):
    image = noise(5)
    image[0, :] = (10, 20, 30)
    region = Region(20, -20, 20, 20)

    def found(border):
        return cut(image, region, width=20, height=20, turned=turned, border=border)

    assert (found("edge") == (10, 20, 30)).all()
    assert (found("black") == 0).all()
    assert found("mirror").std() > 20


def test_the_share_outside_is_an_area():
    image = np.zeros((100, 200, 3), np.uint8)
    assert share_outside(Region(100, 50, 60, 40), image) == 0
    assert share_outside(Region(0, 50, 60, 40), image) == pytest.approx(0.5)
    assert share_outside(Region(200, 100, 60, 40), image) == pytest.approx(0.75)
    assert share_outside(Region(300, 300, 60, 40), image) == 1
    # a square on its tip about the border's corner: one quarter is inside
    assert share_outside(Region(0, 0, 50, 50, 45), image) == pytest.approx(0.75, abs=1e-4)
    assert share_outside(Region(100, 50, 300, 40, 90), image) == pytest.approx(2 / 3, abs=1e-4)


@pytest.mark.parametrize("side", [70, 100, 131, 256, 700])
@pytest.mark.parametrize("angle", [0.0, 3.0, 45.0])
def test_shrinking_a_checkerboard_gives_grey_and_no_moire(side, angle):
    checks = (np.indices((800, 800)).sum(0) % 2 * 255).astype(np.uint8)
    size = 48
    region = Region(400.3, 399.6, side, side, angle)
    found = cut(checks, region, width=size, height=size, turned=True).astype(int)
    assert np.abs(found.mean() - 127.5) < 1
    assert found.std() < 14  # of the checkerboard's 127.5
    matrix = cv2.getRotationMatrix2D((400.3, 399.6), angle, size / side)
    naive = cv2.warpAffine(checks, matrix, (800, 800))[390:410, 390:410].astype(int)
    assert naive.std() > 2.5 * found.std()


def test_shrinking_a_checkerboard_upright_is_grey_all_over():
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    image = np.repeat(checks[..., None], 3, axis=2)
    inner = crop(image, (0, 0, 256, 256), 48).astype(int)[2:-2, 2:-2]
    assert np.abs(inner - 127.5).max() < 3
    aliased = cv2.resize(image, (48, 48), interpolation=cv2.INTER_LINEAR).astype(int)
    assert np.abs(aliased[2:-2, 2:-2] - 127.5).max() > 30  # the trap that is avoided here


@pytest.mark.parametrize("side", [30.0, 60.0, 100.0, 171.3])
def test_warping_and_resizing_see_the_same_picture(side):
    image = smooth()
    region = Region(130.2, 121.7, side, side)
    resized = cut(image, region, width=48, height=48, turned=False).astype(int)
    warped = cut(image, region, width=48, height=48, turned=True).astype(int)
    assert np.abs(resized - warped).mean() < 1.2
    assert np.abs(resized - np.roll(warped, 1, axis=1))[:, 2:-2].mean() > 2  # half a pixel counts


@pytest.mark.parametrize("angle", [-30.0, 11.0, 90.0])
def test_a_turned_region_of_a_turned_picture_is_the_upright_one(angle):
    image = smooth(301, 301)
    centre = (150.5, 150.5)
    matrix = cv2.getRotationMatrix2D((150, 150), -angle, 1.0)  # OpenCV turns counter-clockwise
    turned = cv2.warpAffine(image, matrix, (301, 301), flags=cv2.INTER_CUBIC)
    place = turn([(140.0, 165.0)], angle, centre)[0]
    upright = cut(image, Region(140, 165, 100, 80), width=50, height=40, turned=True)
    found = cut(turned, Region(*place, 100, 80, angle), width=50, height=40)
    assert np.abs(upright.astype(int) - found).mean() < 1.0


def test_width_and_height_may_shrink_by_different_factors():
    image = smooth()
    region = Region(130, 120, 200, 80)
    found = cut(image, region, width=40, height=40, turned=True)
    wanted = np.array(Image.fromarray(image[80:160, 30:230]).resize((40, 40), Image.Resampling.BOX))
    assert np.abs(found.astype(int) - wanted).mean() < 1.5


def test_a_grey_picture_is_cut_as_its_three_equal_channels():
    grey = smooth()[..., 0]
    for region in (Region(100, 100, 90, 90), Region(100, 100, 90, 90, 12.0)):
        flat = cut(grey, region, width=32, height=32)
        colour = cut(np.repeat(grey[..., None], 3, 2), region, width=32, height=32)
        assert flat.shape == (32, 32)
        np.testing.assert_array_equal(colour, np.repeat(flat[..., None], 3, 2))


@pytest.mark.parametrize("angle", [0.0, 25.0, -140.0])
def test_the_angle_of_the_eyes_is_clockwise(angle):
    eyes = turn([(80, 100), (120, 100)], angle, (100, 100))
    assert eye_angle_deg(eyes_at(*eyes)) == pytest.approx(angle, abs=1e-3)


def test_eyes_that_are_unknown_or_coincide_are_no_eyes():
    assert eyes_of(Face(Box(0, 0, 100, 100))) is None
    assert eyes_of(Face(Box(0, 0, 100, 100), None, np.full((5, 2), np.nan))) is None
    assert eyes_of(eyes_at((50, 50), (55, 50))) is None
    assert eyes_of(eyes_at((50, 50), (70, 50))) == pytest.approx(np.array([[50, 50], [70, 50]]))


@pytest.mark.parametrize("angle", [0.0, 20.0, -35.0])
def test_the_eye_frame_measures_in_inter_eye_distances(angle):
    middle = np.array([200.0, 150.0])
    face = eyes_at(*turn([(180, 150), (220, 150)], angle, middle))
    region = EyeFrame(sides=1.7, above=1.3, below=3.2)(face)
    assert (region.width, region.height) == pytest.approx((3.4 * 40, 4.5 * 40), rel=1e-5)
    assert region.angle_deg == pytest.approx(angle, abs=1e-3)
    # the middle of the upper edge lies 1.3 distances above the eyes' midpoint, the lower 3.2 below
    centre = np.array([region.x, region.y])
    upper = centre + turn([(0, -region.height / 2)], angle)[0]
    lower = centre + turn([(0, region.height / 2)], angle)[0]
    assert upper == pytest.approx(middle + turn([(0, -1.3 * 40)], angle)[0], abs=1e-3)
    assert lower == pytest.approx(middle + turn([(0, 3.2 * 40)], angle)[0], abs=1e-3)


@pytest.mark.parametrize("angle", [0.0, 17.0, -40.0])
def test_level_turns_the_box_about_its_centre(angle):
    eyes = turn([(180, 140), (220, 140)], angle, (200, 150))
    face = Face(Box(150, 90, 100, 120), None, np.vstack([eyes, np.full((3, 2), np.nan)]))
    region = BoxFrame(margin=0.1, level=True)(face)
    assert region[:4] == pytest.approx((200, 150, 124, 144))
    assert region.angle_deg == pytest.approx(angle, abs=1e-3)
    lower = BoxFrame(down=0.1, level=True)(face)
    assert (lower.x, lower.y) == pytest.approx(
        tuple(np.array([200, 150]) + turn([(0, 12)], angle)[0]), abs=1e-3
    )
    assert BoxFrame(level=False)(face).angle_deg == 0


def test_the_template_frame_puts_landmarks_on_the_template():
    middle, side, angle = np.array([300.0, 210.0]), 150.0, -23.0
    points = turn((TEMPLATE - 0.5) * side, angle) + middle
    region = TemplateFrame()(face_with(points))
    assert region == pytest.approx((*middle, side, side, angle), abs=1e-2)
    wider = TemplateFrame(margin=0.2, down=0.1)(face_with(points))
    assert wider.width == pytest.approx(1.4 * side, rel=1e-4)
    shifted = middle + turn([(0, 0.1 * side)], angle)[0]
    assert (wider.x, wider.y) == pytest.approx(tuple(shifted), abs=1e-2)


def test_the_template_frame_does_with_eyes_alone():
    middle, side, angle = np.array([300.0, 210.0]), 150.0, 12.0
    points = turn((TEMPLATE - 0.5) * side, angle) + middle
    assert TemplateFrame()(face_with(points[:2])) == pytest.approx(
        (*middle, side, side, angle), abs=1e-2
    )


def test_landmark_error_is_zero_on_the_template_and_does_not_see_similarity():
    points = turn(TEMPLATE * 80, 33.0) + np.array([70, 10])
    assert landmark_error(face_with(points)) == pytest.approx(0, abs=1e-5)
    off = TEMPLATE.copy()
    off[2] += 0.1
    errors = [
        landmark_error(face_with(turn(off * scale, angle) + shift))
        for scale, angle, shift in ((80, 0, 0), (300, 71, 1000))
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)
    # one of five points is 0.1·√2 off; the fit takes a part of it; eyes are 0.315 apart
    assert 0.1 < errors[0] < 0.1 * 2**0.5 / 5**0.5 / 0.3146


def test_landmark_error_of_a_mirrored_face_is_large():
    mirrored = TEMPLATE * [-1, 1]
    assert landmark_error(face_with(mirrored * 100)) > 0.5


def test_landmark_error_needs_all_five_points():
    points = TEMPLATE * 100
    assert landmark_error(face_with(points[:4])) is None
    assert landmark_error(Face(Box(0, 0, 9, 9))) is None
    assert landmark_error(face_with(np.ones((5, 2)))) is None


def test_a_region_that_is_no_square_is_grown_squeezed_or_padded():
    region = Region(100, 80, 34, 45, 5.0)
    assert fitted(region, "square") == (100, 80, 45, 45, 5.0)
    assert inner_size(fitted(region, "square"), 90, "square") == (90, 90)
    assert fitted(region, "stretch") == region
    assert inner_size(region, 90, "stretch") == (90, 90)
    assert fitted(region, "pad") == region
    assert inner_size(region, 90, "pad") == (68, 90)
    assert inner_size(Region(0, 0, 60, 20), 90, "pad") == (90, 30)
    with pytest.raises(ValueError, match=r"fit 'crop' is unknown; use .*pad \(standardise\.fit\)"):
        fitted(region, "crop")


def test_padding_centres_between_black_bars():
    image = np.full((9, 4, 3), 77, np.uint8)
    square = padded(image, 9)
    assert square.shape == (9, 9, 3)
    assert (square[:, 2:6] == 77).all()
    assert square.sum() == image.sum()


def test_supposed_eyes_are_level_and_keep_the_box():
    face = Face(Box(10, 20, 100, 100), 0.5)
    upright = supposed_upright(face)
    assert eye_angle_deg(upright) == 0
    assert (upright.box, upright.score) == (face.box, face.score)
    (left, top), (right, _) = eyes_of(upright)
    assert (left + right) / 2 == pytest.approx(60)
    assert 20 + 30 < top < 20 + 45
    assert landmark_error(upright) is None


@pytest.mark.parametrize("frame", [BoxFrame, TemplateFrame])
def test_a_margin_that_leaves_nothing_is_told(frame):
    with pytest.raises(ValueError, match=r"margin -0\.5 leaves nothing .*\(standardise\.frame"):
        frame(margin=-0.5)


def test_an_eye_frame_without_extent_is_told():
    with pytest.raises(ValueError, match=r"below 0 must be over 0 .*\(standardise\.frame\.below\)"):
        EyeFrame(below=0)
