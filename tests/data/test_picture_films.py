"""Films that are pictures: stacks in one file, and folders of numbered files."""

import numpy as np
import pytest
from PIL import Image

from eon_utils import VideoClips, video_folder
from eon_utils.data.picture_films import join_numbered, members

FRAMES = 12


def pictures(count=FRAMES):
    """Each frame as bright as its number, in 255ths of 10, with a texture that moves."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 60, (24, 32 + count, 3), np.uint8)
    return [Image.fromarray(ground[:, n : n + 32] + np.uint8(10 * n)) for n in range(count)]


def brightness(clips):
    """Of each frame, in 255ths."""
    return 255 * clips.mean((2, 3, 4)).flatten()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("stack.tif", {}),
        ("moving.webp", {"lossless": True, "duration": 80}),
        ("moving.png", {"duration": 80}),
    ],
)
def test_several_pictures_in_one_file_are_a_film(tmp_path, name, options):
    first, *others = pictures()
    first.save(tmp_path / name, save_all=True, append_images=others, **options)
    clips, names = video_folder(tmp_path, frames=5, size=(32, 24))
    assert clips.shape == (2, 5, 3, 24, 32) and names == [f"{name} @ 0 s", f"{name} @ 0.4 s"]
    assert (brightness(clips).diff() > 5).all(), "in order"


def test_a_film_that_tells_its_times_is_read_by_them(tmp_path):
    first, *others = pictures()
    first.save(tmp_path / "slow.webp", save_all=True, append_images=others, duration=200)
    with pytest.warns(UserWarning, match="slow.webp has 5 frames a second, all are used in place"):
        _, names = video_folder(tmp_path, frames=5, size=24)
    assert names == ["slow.webp @ 0 s", "slow.webp @ 1 s"]


def test_numbered_pictures_are_a_film_in_the_order_of_their_numbers(tmp_path):
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / f"shot {number}.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "cover.png")
    with pytest.warns(UserWarning, match=r"cover.png \(1 frame, a clip needs 5\)"):
        clips, names = video_folder(tmp_path, frames=5, size=(32, 24))
    assert names == ["shot *.png @ 0 s", "shot *.png @ 0.4 s"]
    assert (brightness(clips).diff() > 5).all(), "2 before 10"
    (film,) = join_numbered(sorted(tmp_path.glob("shot*")))
    assert [file.name for file in members(film)][8:] == [f"shot {n}.png" for n in (8, 9, 10, 11)]


def test_no_clip_goes_across_a_damaged_picture(tmp_path):
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{number:02d}.png")
    data = (tmp_path / "05.png").read_bytes()
    (tmp_path / "05.png").write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=r"\*.png is damaged, its whole parts are used"):
        clips, _ = video_folder(tmp_path, frames=5, size=(32, 24))
    assert len(clips) == 2
    steps = brightness(clips).view(2, 5).diff(dim=1)
    assert (steps < 12).all(), "no step over a missing one"


def test_gray_of_16_bits_is_scaled_alike_in_all_frames(tmp_path):
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 200, (24, 32))
    frames = [Image.fromarray((ground + 60 * n).astype("uint16")) for n in range(6)]
    frames[0].save(tmp_path / "cells.tif", save_all=True, append_images=frames[1:])
    with pytest.warns(
        UserWarning, match="cells.tif: its values go from 0 to 499; 0 is black, 1023"
    ):
        clips, _ = video_folder(tmp_path, frames=6, size=(32, 24))
    steps = brightness(clips).diff()
    assert steps.min() > 0.9 * steps.max(), "by the same number of grays each"


def test_numbered_stacks_stay_films_of_their_own(tmp_path):
    first, *others = pictures()
    for number in (1, 2):
        file = tmp_path / f"cells_{number}.tif"
        first.save(file, save_all=True, append_images=others)
    clips, names = video_folder(tmp_path, frames=5, size=(32, 24))
    assert len(clips) == 4 and {name.split(" @ ")[0] for name in names} == {
        "cells_1.tif",
        "cells_2.tif",
    }


def test_one_numbered_file_by_its_name_is_one_picture(tmp_path):
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / f"{number}.png")
    with pytest.raises(ValueError, match=r"7.png \(1 frame, a clip needs 5\)"):
        video_folder(tmp_path / "7.png")


def test_folders_that_are_not_read_are_named(tmp_path):
    (tmp_path / "more").mkdir()
    with pytest.raises(ValueError, match="no file at all; folders in it are not read: more; MP4"):
        video_folder(tmp_path)
    first, *others = pictures(5)
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    with pytest.warns(UserWarning, match="folders in it are not read: more"):
        assert len(video_folder(tmp_path)[0]) == 1


def test_a_track_of_one_picture_is_no_film_where_there_is_another(tmp_path):
    av = pytest.importorskip("av")
    file = tmp_path / "phone.mkv"
    with av.open(file, "w") as out:
        thumbnail, film = (out.add_stream("ffv1", 25) for _ in range(2))
        for stream in (thumbnail, film):
            stream.width, stream.height, stream.pix_fmt = 32, 24, "bgra"
        for number, picture in enumerate(pictures()):
            frame = av.VideoFrame.from_image(picture)
            for stream in (thumbnail, film) if number == 0 else (film,):
                out.mux(stream.encode(frame))
        for stream in (thumbnail, film):
            out.mux(stream.encode())
    clips, _ = video_folder(file, fps=25, size=(32, 24))
    assert len(clips) == 2 and (brightness(clips).diff() > 5).all()


def test_films_of_pictures_are_trained_on(tmp_path):
    folder = tmp_path / "clips" / "deep"
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures()):
        picture.save(folder / f"{number}.jpg")
    first, *others = pictures()
    first.save(tmp_path / "clips" / "stack.tif", save_all=True, append_images=others)
    clips = VideoClips(4, 5, 16, folders=(str(tmp_path / "clips"),), cache=str(tmp_path / "cache"))
    assert clips.stack().shape == (4, 5, 3, 16, 16)
    assert len(clips.groups) == 2
