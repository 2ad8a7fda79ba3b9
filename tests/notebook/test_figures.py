"""Figures: sheets, panels, curves, tables of layers and pictures of architectures."""

import io
import itertools

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import FancyArrowPatch, Polygon, Rectangle
from torch import nn

import eon_utils as eon
from eon_utils.notebook import figures
from eon_utils.notebook.figures import flow_colours, motion_sheet, panels, trace


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def rendered(fig):
    file = io.BytesIO()
    fig.savefig(file)
    return file.getvalue()


def test_labels_at_curve_ends_do_not_overlap():
    series = {f"model {i}": ([1, 10], [1.0, 0.5 + 1e-3 * i]) for i in range(5)}
    ax = eon.curves(series, "step", "loss", log="xy")
    ax.figure.draw_without_rendering()
    boxes = sorted((t.get_window_extent() for t in ax.texts), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(boxes))
    plt.close(ax.figure)


def test_sheets_and_architecture_draw():
    pictures = torch.rand(8, 3, 32, 48)
    for fig in (
        eon.contact_sheet({"a": pictures, "b": pictures * 0.9}, ["x"] * 8, against=pictures),
        eon.heat_sheet({"a": pictures.mean(1)}, ["x"] * 8, "error"),
        eon.architecture({"V4": eon.ConvAutoencoder(skips=True, noise=0.25)}, pictures),
    ):
        fig.savefig(io.BytesIO())
        plt.close(fig)


@pytest.mark.parametrize("name", ["cost $5 to $7", "$\\badmath$", "50 % _under_ ^over^"])
def test_any_name_is_shown_as_it_is(name):
    pictures = torch.rand(1, 3, 24, 32)
    sheets = [eon.contact_sheet({name: pictures}, [name])]
    sheets.append(eon.heat_sheet({name: pictures[:, 0]}, [name]))
    sheets.append(eon.motion_sheet(pictures, {name: torch.rand(1, 2, 24, 32)}, [name]))
    for fig in sheets:
        rendered(fig)
        said = [ax.get_title() for ax in fig.axes] + [ax.get_ylabel() for ax in fig.axes]
        assert name in said


def test_running_median_keeps_length_and_level():
    assert len(eon.smooth([1.0, 100.0, 1.0, 1.0, 1.0], 3)) == 5
    assert eon.smooth([1.0, 100.0, 1.0, 1.0, 1.0], 3).max() == 1


def test_a_figure_of_six_has_six_kinds_of_lines():
    ax = eon.curves({f"run {i}": ([1, 2], [i, i]) for i in range(6)}, "step", "loss")
    assert len({line.get_color() for line in ax.lines}) == 6
    kinds = {line._unscaled_dash_pattern[1] for line in ax.lines}
    assert len({kind and tuple(kind) for kind in kinds}) == 6


def leaders(ax):
    """By the name that each leads to, the path's points in pixels."""
    ax.figure.draw_without_rendering()
    found = [artist for artist in ax.patches if isinstance(artist, figures._Leader)]
    return {
        text.get_text(): leader.get_path().vertices
        for text, leader in zip(ax.texts, found, strict=True)
    }


@pytest.mark.parametrize("log", ["", "xy"])
def test_leaders_go_from_the_ends_to_the_names(log):
    """Also of curves that end early, and where limits change after the curves were drawn."""
    series = {f"run {i}": ([1, 10 - i], [2.0, 3 + 0.01 * i]) for i in range(5)}
    ax = eon.curves(series, "step", "loss", log=log, levels={"the best": 2.5})
    ax.set(xlim=(0.5, 20), ylim=(1, 8))
    there = leaders(ax)
    assert list(there) == [*series, "the best"]
    boxes = {text.get_text(): text.get_window_extent() for text in ax.texts}
    for name, (start, _, end) in there.items():
        middle = (boxes[name].y0 + boxes[name].y1) / 2
        assert boxes[name].x0 - 6 < end[0] < boxes[name].x0 > ax.bbox.x1
        assert abs(middle - end[1]) < 2
        if name in series:
            x, y = ax.transData.transform((series[name][0][-1], series[name][1][-1]))
            assert 0 < start[0] - x < 12 and abs(start[1] - y) < 1
    low, high = ax.bbox.y0, ax.bbox.y1
    assert all(low - 1 <= end[1] <= high + 1 for _, _, end in there.values())


def test_a_curve_that_is_lost_is_named_where_it_was_last_seen():
    nan = float("nan")
    ax = eon.curves({"lost": ([1, 2, 3], [5, 4, nan]), "never": ([1, 2], [nan, nan])}, "x", "y")
    there = leaders(ax)
    assert list(there) == ["lost"]
    assert abs(there["lost"][0][1] - ax.transData.transform((2, 4))[1]) < 1


def test_pictures_of_many_keys_stand_across():
    pictures = torch.rand(2, 3, 24, 32)
    rows = {name: pictures * 0.9 for name in ("input", "V1", "V2", "V3")}
    fig = eon.contact_sheet(rows, ["seen", "unseen"], against=pictures, across=True)
    rendered(fig)
    assert [ax.get_title() for ax in fig.axes[:4]] == list(rows)
    assert [ax.get_ylabel() for ax in fig.axes[::4]] == ["seen", "unseen"]
    assert all(ax.images and ax.get_xlabel().endswith("dB") for ax in fig.axes)
    assert fig.get_size_inches()[0] > eon.contact_sheet(rows).get_size_inches()[0]
    maps = {name: picture.mean(1) for name, picture in rows.items()}
    fig = eon.heat_sheet(maps, ["a", "b"], pictures={"frame": pictures}, across=True)
    rendered(fig)
    assert [ax.get_title() for ax in fig.axes[:5]] == ["frame", *rows]
    assert [ax.images[0].get_array().ndim for ax in fig.axes[:5]] == [3, 2, 2, 2, 2]


def test_titles_fit_into_narrow_columns():
    pictures = torch.rand(6, 3, 32, 32)
    titles = [f"a title of {i} words" for i in range(6)]
    fig = eon.contact_sheet({"a": pictures}, titles)
    fig.draw_without_rendering()
    boxes = [ax.title.get_window_extent() for ax in fig.axes]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_network_that_folds_its_input_is_drawn_on_the_scale_of_the_others():
    folded = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, 8, 1), nn.Conv2d(8, 48, 1))
    folded.append(nn.PixelShuffle(4))
    images = torch.rand(1, 3, 32, 32)
    fig = eon.architecture({"V2": eon.ConvAutoencoder(), "folded": folded}, images)
    rendered(fig)
    words = [text.get_text() for text in fig.axes[1].texts]
    shapes = [word for word in words if "×" in word]
    assert shapes == ["3\n32×32", "48\n8×8", "8\n8×8", "48\n8×8", "3\n32×32"]
    tallest = [
        max(
            patch.get_path().vertices[:, 1].max()
            for patch in ax.patches
            if isinstance(patch, Polygon)
        )
        for ax in fig.axes
    ]
    assert tallest[0] == pytest.approx(tallest[1])


def test_what_a_network_does_without_is_crossed():
    model = eon.ConvAutoencoder(skips=True)
    images = torch.rand(1, 3, 32, 48)
    names = ("whole", "no code", "no skips")
    left = {"no code": torch.zeros(3, 32, 48)}
    without = ("", "code", "skips")
    fig = eon.architecture(dict.fromkeys(names, model), images, without=without, outputs=left)
    rendered(fig)
    crosses = [[t.get_text() for t in ax.texts].count("×") for ax in fig.axes]
    assert crosses == [0, 1, 3]
    shown = [ax.images[-1].get_array().max() for ax in fig.axes]
    assert shown[1] == 0 < shown[0]


@pytest.mark.parametrize("count", [1, 4, 5, 6])
def test_sheets_hold_one_column_a_source(count):
    pictures = torch.rand(count, 3, 24, 32)
    titles = [f"source {i}" for i in range(count)]
    flow = torch.randn(count, 2, 24, 32)
    contact = eon.contact_sheet({"a": pictures, "b": pictures[:2]}, titles, against=pictures)
    heat = eon.heat_sheet({"a": pictures.mean(1)}, titles)
    motion = motion_sheet(pictures, {"a": flow, "b": flow * 0}, titles)
    for fig, rows, extra in ((contact, 2, 0), (heat, 1, 1), (motion, 3, 3)):  # scale, wheel
        rendered(fig)
        assert len(fig.axes) == rows * count + extra
        assert [ax.get_title() for ax in fig.axes[:count]] == titles
        drawn = [ax for ax in fig.axes[:count] if ax.images]
        assert len(drawn) == count
    assert fig.axes[0].get_ylabel() == "as arrows"
    notes = [ax.get_xlabel() for ax in contact.axes]
    assert notes[:count] == ["exact"] * count and notes[count:].count("exact") == min(2, count)


def test_motions_have_a_scale_each():
    flow = torch.zeros(2, 2, 24, 32)
    flow[0, 0] = 4.0
    flow[1, 1] = -0.5
    fig = motion_sheet(torch.rand(2, 3, 24, 32), {"a": flow, "b": flow / 2}, ["fast", "slow"])
    rendered(fig)
    assert [ax.get_xlabel() for ax in fig.axes[6:8]] == ["rim: 4.0 px", "rim: 0.5 px"]
    fast, slow = (fig.axes[3 + column].images[0].get_array() for column in (0, 1))
    assert fast.std((0, 1)).max() < 1e-6 and not (fast == 1).all() and not (slow == 1).all()


def test_errors_stand_below_the_target_with_their_psnr():
    target = torch.rand(3, 3, 24, 32)
    answers = {"half": (target + 0.5).clamp(0, 1), "right": target}
    fig = eon.error_sheet(answers, target, ["x", "y", "z"], {"half": answers["half"]})
    rendered(fig)
    names = [ax.get_ylabel() for ax in fig.axes[:12:3]]
    assert names == ["target", "half", "error of\nhalf", "error of\nright"]
    assert all(ax.get_xlabel().endswith(" dB") for ax in fig.axes[6:9])
    assert [ax.get_xlabel() for ax in fig.axes[9:12]] == ["exact"] * 3


@pytest.mark.filterwarnings("error")
def test_strips_of_boxes_with_arrows():
    fig = eon.strips([("a", "xy z", "note"), ("b", " x", "")], [((0, 0), (1, 1)), ((0, 0), (0, 3))])
    rendered(fig)
    ax = fig.axes[0]
    assert sum(isinstance(patch, Rectangle) for patch in ax.patches) == 4
    (across, bent) = (patch for patch in ax.patches if isinstance(patch, FancyArrowPatch))
    assert across.get_path().vertices[-1, 1] > across.get_path().vertices[0, 1], "downwards"
    assert bent.get_path().vertices[:, 1].min() < bent.get_path().vertices[0, 1], "over the boxes"


def test_a_sketch_is_saved_without_a_warning(recwarn):
    with plt.rc_context({"figure.constrained_layout.use": True}):
        eon.show(eon.strips([("before", "ab", ""), ("after", "ba", "")]), "letters", "name")
    assert not [str(one.message) for one in recwarn if "layout" in str(one.message)]


def test_pictures_stand_above_maps():
    maps, pictures = torch.rand(2, 24, 32), torch.rand(2, 3, 24, 32)
    fig = eon.heat_sheet({"weight": maps}, ["a", "b"], pictures={"frame": pictures})
    rendered(fig)
    assert [ax.get_ylabel() for ax in fig.axes[::2][:2]] == ["frame", "weight"]
    assert [ax.images[0].get_array().ndim for ax in fig.axes[:4]] == [3, 3, 2, 2]


def test_a_network_of_many_layers_is_drawn_by_stages():
    prior = eon.Prior(encoder=(8, 8, 8), decoder=(8, 8, 8, 8), fusion=8).eval()
    fig = eon.architecture({"prior": prior}, torch.rand(1, 4, 3, 32, 32), reads="what is read")
    rendered(fig)
    words = [text.get_text() for text in fig.axes[0].texts]
    assert {"encoder", "decoder", "fusion", "what is read"} <= set(words)
    assert sum("×" in word for word in words) == 1 + 3 + 4 + 1, "a shape a stage, and the frames"


def test_no_more_columns_than_asked_for():
    pictures = torch.rand(8, 3, 24, 32)
    assert len(eon.contact_sheet({"a": pictures}).axes) == 6
    assert len(eon.contact_sheet({"a": pictures}, most=7).axes) == 7


def test_four_panels_are_a_square_of_subplots():
    fig, axes = panels(["a", "b", "c", "d"])
    plain, squares = plt.subplots(2, 2, figsize=(9.4, 6.2))
    for ax, title in zip(squares.flat, "abcd", strict=True):
        ax.set_title(title)
    assert rendered(fig) == rendered(plain)
    assert axes == fig.axes


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (2, 2)), (5, (3, 2))])
def test_panels_that_are_left_over_are_hidden(count, shape):
    titles = [f"source {i}" for i in range(count)]
    fig, axes = panels(titles)
    rows, columns = shape
    assert fig.get_size_inches() == pytest.approx([4.7 * columns, 3.1 * rows])
    assert [ax.get_title() for ax in axes] == titles
    assert [ax for ax in fig.axes if ax.get_visible()] == axes
    assert len(fig.axes) == rows * columns
    for ax, title in zip(axes, titles, strict=True):
        eon.curves({title: ([1, 2], [3, 4])}, "frames ahead", "PSNR [dB]", ax)
    rendered(fig)


def test_panels_in_one_row():
    fig, axes = panels("abc", columns=3, size=(3, 2))
    assert len(axes) == len(fig.axes) == 3
    assert fig.get_size_inches().tolist() == [9, 2]


def test_flow_colours_share_one_scale():
    """Still is white, fast is saturated: a flow has its colour whatever else is in the batch."""
    flow = torch.zeros(2, 2, 1, 3)
    flow[0, :, 0] = torch.tensor([[0.0, 1.0, 4.0], [0.0, 0.0, 0.0]])
    colours = flow_colours(flow, top=2.0)
    still, half, fast = colours[0, :, 0].T
    assert colours.min() >= 0 and colours.max() <= 1
    assert still.tolist() == [1, 1, 1] and (colours[1] == 1).all()
    assert fast.tolist() == flow_colours(flow[:1, :, :, 2:] / 2, top=2.0).flatten().tolist()
    assert fast[0] == 1 and fast[1:].max() < 0.01  # to the right: red
    assert half[1:].tolist() == pytest.approx([0.5, 0.5], abs=0.01)


def test_trace_lists_layers_in_the_order_in_which_they_ran():
    layers = trace(eon.ConvAutoencoder(skips=True), torch.rand(2, 3, 32, 48))
    assert [layer.output_shape[0] for layer in layers] == [8, 16, 32, 64, 32, 16, 8, 3]
    assert (layers[0].input_shape, layers[0].output_shape) == ((3, 32, 48), (8, 16, 24))
    assert (layers[0].name, layers[0].kind) == ("encoder.0", "Conv2d 5x5, stride 2")
    assert sum(layer.parameters for layer in layers) == 152_379


def test_trace_leaves_the_model_and_its_numbers_as_they_are():
    """A model in training draws what it draws in a pass of its own, and stays in training."""
    images = torch.rand(1, 3, 32, 48)
    for training in (True, False):
        model = eon.ConvAutoencoder(skips=True, noise=0.25).train(training)
        torch.manual_seed(0)
        model(images)
        expected = torch.rand(3)
        torch.manual_seed(0)
        trace(model, images)
        assert torch.equal(torch.rand(3), expected)
        assert model.training == training
        assert not any(module._forward_hooks for module in model.modules())


def test_layer_table(shown):
    shared = nn.Conv2d(3, 3, 3, padding=1)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Flatten(), nn.Linear(3 * 32 * 48, 10))
    eon.layer_table(model, torch.rand(2, 3, 32, 48))
    assert shown[0][0]["text/plain"].splitlines() == [
        "layer  kind                  takes        returns      parameters",
        "0      Conv2d 3x3, stride 1  3 × 32 × 48  3 × 32 × 48  84",
        "0      Conv2d 3x3, stride 1  3 × 32 × 48  3 × 32 × 48  84",
        "4      Linear                4,608        10           46,090",
        "                                          in all       46,174",  # shared: once
    ]


def test_names_of_files_are_shortened_where_they_would_not_fit():
    pictures = torch.rand(3, 3, 40, 60)
    names = ["short", "a photograph at the sea", "b" * 240]
    fig = figures.contact_sheet({"mine": pictures}, names)
    titles = [ax.get_title() for ax in fig.axes]
    assert titles[:2] == names[:2] and titles[2].endswith("b…") and len(titles[2]) < 40
