"""plots.embedding_map: points, prototypes and panels where the arithmetic of the test puts them."""

import math
import re

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba

from keras_margin import plots
from keras_margin.plots import Embedded

PLANE = Embedded(np.array([[3.0, 4.0], [-1.0, 0.0], [0.0, -2.0]]), [1, 0, 2], np.array([[-2, 0], [0.6, 0.8], [0, -9]]))
SPACE = Embedded(np.array([[0.0, 0.0, 5.0], [2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]]), [0, 1, 1], np.eye(3)[[2, 0]])


def clouds(axes):
    """The drawn points of a panel: (positions, colors) of each scatter."""
    drawn = [each for each in axes.collections if isinstance(each, PathCollection)]
    return [(np.asarray(each.get_offsets()), each.get_facecolors()) for each in drawn]


def seen(vector):
    """By hand: the eye is turned by 30 degrees about the third axis and raised by 20; (across, up, towards the eye)."""
    turn, tilt = math.radians(30), math.radians(20)
    eye = np.array([math.cos(turn) * math.cos(tilt), math.sin(turn) * math.cos(tilt), math.sin(tilt)])
    across = np.array([-math.sin(turn), math.cos(turn), 0])
    return [float(axis @ vector) for axis in (across, np.cross(eye, across), eye)]


def test_a_plane_shows_the_points_in_scale():
    """Shows the points of a plane as they lie, in units of the farthest."""
    (axes,) = plots.embedding_map({"a": PLANE}).axes
    ((points, _),) = clouds(axes)
    np.testing.assert_allclose(points, [[0.6, 0.8], [-0.2, 0], [0, -0.4]])
    assert axes.get_title() == "a" and axes.get_aspect() == 1 and not axes.axison


def test_a_ray_has_its_prototypes_direction_and_color():
    """Draws a ray in its prototype's direction, with its class's color and number."""
    (axes,) = plots.embedding_map({"a": PLANE}).axes
    ((_, colors),) = clouds(axes)
    rays = [line for line in axes.lines if len(line.get_xdata()) == 2]
    units = np.array([[-1, 0], [0.6, 0.8], [0, -1]])
    ends = np.array([line.get_xydata() for line in rays])
    np.testing.assert_allclose(ends[:, 0], 0)
    np.testing.assert_allclose(ends[:, 1] / np.linalg.norm(ends[:, 1], axis=1)[:, None], units)
    assert (np.linalg.norm(ends[:, 1], axis=1) > 1).all()
    of_rays = [to_rgba(line.get_color())[:3] for line in rays]
    assert len({*of_rays}) == 3
    assert [tuple(color[:3]) for color in colors] == [of_rays[label] for label in PLANE.labels]
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]
    for text, unit in zip(axes.texts, units, strict=True):
        assert np.dot(text.get_position(), unit) == pytest.approx(np.linalg.norm(text.get_position()))


def test_a_sphere_shows_its_far_side_faintly():
    """Shows the directions on a sphere from one side, and those behind it faintly."""
    (axes,) = plots.embedding_map({"a": SPACE}).axes
    (far, far_colors), (near, near_colors) = clouds(axes)
    assert seen([0, 0, 1])[2] > 0 and seen([1, 0, 0])[2] > 0 and seen([-1, 0, 0])[2] < 0
    np.testing.assert_allclose(near, [seen([0, 0, 1])[:2], seen([1, 0, 0])[:2]], atol=1e-12)
    np.testing.assert_allclose(far, [seen([-1, 0, 0])[:2]], atol=1e-12)
    assert far_colors[0, 3] < near_colors[1, 3] and (far_colors[0, :3] == near_colors[1, :3]).all()


def test_a_prototype_is_a_numbered_dot_on_the_sphere():
    """Draws a prototype as a dot on the sphere, with its number further out."""
    (axes,) = plots.embedding_map({"a": SPACE}).axes
    dots = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"]
    wanted = [seen([0, 0, 1])[:2], seen([1, 0, 0])[:2]]
    np.testing.assert_allclose(dots, wanted, atol=1e-12)
    for text, dot in zip(axes.texts, wanted, strict=True):
        assert np.linalg.norm(text.get_position()) > np.linalg.norm(dot)
    assert [text.get_text() for text in axes.texts] == ["0", "1"]


def test_panels_keep_their_order_and_the_rest_is_empty():
    """Places the rows of panels in the order given, and leaves the rest empty."""
    figure = plots.embedding_map([{"a": PLANE, "b": PLANE, "c": PLANE}, {"d": PLANE}])
    titles = {
        (each.get_subplotspec().rowspan.start, each.get_subplotspec().colspan.start): each for each in figure.axes
    }
    found = {place: axes.get_title() for place, axes in titles.items()}
    assert found == {(0, 0): "a", (0, 1): "b", (0, 2): "c", (1, 0): "d", (1, 1): "", (1, 2): ""}
    assert all(not axes.axison for axes in figure.axes)


def test_without_prototypes_there_are_points_alone():
    """Draws points alone without prototypes."""
    for shown in (PLANE, SPACE):
        (axes,) = plots.embedding_map({"a": shown._replace(prototypes=None)}).axes
        assert sum(len(points) for points, _ in clouds(axes)) == 3
        assert not axes.texts and not [line for line in axes.lines if line.get_marker() == "o"]


@pytest.mark.parametrize("num_classes", [2, 10, 11, 40])
def test_every_class_has_its_own_color(num_classes):
    """Gives every class its own color."""
    angles = np.linspace(0, 2 * np.pi, num_classes, endpoint=False)
    shown = Embedded(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.arange(num_classes))
    (axes,) = plots.embedding_map({"a": shown}).axes
    ((_, colors),) = clouds(axes)
    assert len({tuple(color) for color in colors}) == num_classes


def test_a_class_has_one_color_in_all_panels():
    """Gives a class one color in all panels."""
    few = Embedded(PLANE.embeddings[:1], [2])
    first, second = plots.embedding_map({"a": PLANE, "b": few}).axes
    assert (clouds(first)[0][1][2] == clouds(second)[0][1][0]).all()


def test_all_of_a_panel_is_inside_its_limits():
    """Keeps all of a panel inside its limits."""
    for shown in (PLANE, SPACE):
        figure = plots.embedding_map({"a": shown})
        figure.draw_without_rendering()
        (axes,) = figure.axes
        frame = axes.get_window_extent()
        for text in axes.texts:
            box = text.get_window_extent()
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1


def bad(**changes):
    return {"a": PLANE._replace(**changes)}


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ({}, ValueError, "at least one set of embeddings"),
        ([{}, {}], ValueError, "at least one set of embeddings"),
        ({"a": (PLANE.embeddings, PLANE.labels)}, TypeError, "plots.Embedded values. Received: tuple for 'a'"),
        (bad(embeddings=np.eye(4)[:3], prototypes=None), ValueError, "Received: embedding_size=4"),
        ({"a": PLANE, "b": SPACE}, ValueError, "in one figure. Received: embedding_size=2, 3"),
        (bad(embeddings=[[1.0, 0.0], [0.0, math.nan], [1.0, 1.0]]), ValueError, "must be finite"),
        (bad(embeddings=[[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]), ValueError, "zero embedding has no direction"),
        (bad(labels=[0, 1]), ValueError, "one entry per embedding"),
        (bad(labels=["a", "b", "c"]), TypeError, "integers, each a class. Received: dtype=<U1 for 'a'"),
        (bad(labels=[0, 1, 3]), ValueError, "rows of prototypes, in [0, 3). Received: labels in [0, 3] for 'a'"),
        (bad(labels=[-1, 1, 2], prototypes=None), ValueError, "classes, >= 0. Received: labels in [-1, 2]"),
        (bad(prototypes=np.eye(3)), ValueError, "one embedding size"),
    ],
)
def test_bad_input_is_refused(rows, error, words):
    """Refuses invalid input."""
    with pytest.raises(error, match=re.escape(words)):
        plots.embedding_map(rows)
