"""Films that are pictures: stacks in one file, and folders of numbered files."""

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from eon_utils import VideoClips, photo_folder, video_folder
from eon_utils.data import picture_films
from eon_utils.data.picture_films import is_numbered, join_numbered, members

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


@pytest.mark.parametrize(
    ("names", "films"),
    [
        ("frame ({n}).png", {"frame (*).png": 12}),
        ("{n:03d}_cam.png", {"*_cam.png": 12}),
        ("img_t{n:03d}_c{k}.tif", {"img_t*_c0.tif": 12, "img_t*_c1.tif": 12}),
        ("shot{k}_{n:02d}.bmp", {"shot0_*.bmp": 12, "shot1_*.bmp": 12}),
        ("20240101_{n:03d}.jpg", {"20240101_*.jpg": 12}),
        *((f"a{{n}}.{kind}", {f"a*.{kind}": 12}) for kind in ("ppm", "pgm", "tga", "jp2")),
        ("cover{k}.png", {"cover*.png": 2}),
        ("cover7.png", {"cover7.png": 0}),
        ("a*{n}.png", {f"a*{n}.png": 0 for n in range(12)}),
    ],
)
def test_pictures_are_joined_along_the_number_that_counts_them(tmp_path, names, films):
    for n in range(12):
        for k in range(2):
            (tmp_path / names.format(n=n, k=k)).touch()
    joined = join_numbered(sorted(tmp_path.iterdir()))
    found = {film.name: len(members(film)) if is_numbered(film) else 0 for film in joined}
    assert found == films


def test_endings_in_capitals_and_small_letters_are_one_film(tmp_path):
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / f"DSC_{number}.{'JPG' if number % 2 else 'jpg'}")
    clips, names = video_folder(tmp_path, frames=12, size=(32, 24))
    assert names == ["DSC_*.jpg @ 0 s"] and (brightness(clips).diff() > 5).all()


def stack(path, compression=None):
    first, *others = pictures()
    first.save(path, save_all=True, append_images=others, compression=compression)
    return path.read_bytes()


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_of_a_stack_that_is_cut_short_the_whole_pages_are_read(tmp_path, compression, share):
    file = tmp_path / "a.tif"
    data = stack(file, compression)
    file.write_bytes(data[: int(share * len(data))])
    with pytest.warns(UserWarning, match=r"a\.tif is damaged, its whole parts are used") as caught:
        clips, _ = video_folder(file, frames=1, size=(32, 24))
    assert 12 * share - 2 < len(clips) <= 12 * share and len(caught) == 1
    assert (brightness(clips).diff() > 5).all()


def test_one_damaged_page_costs_no_other(tmp_path):
    file = tmp_path / "a.tif"
    damaged = bytearray(stack(file, "tiff_lzw"))
    with Image.open(file) as picture:
        picture.seek(5)
        starts, lengths = picture.tag_v2[273], picture.tag_v2[279]
    for start, length in zip(starts, lengths, strict=True):
        damaged[start : start + length] = b"\xff" * length
    file.write_bytes(damaged)
    with pytest.warns(UserWarning, match="is damaged, its whole parts are used"):
        clips, names = video_folder(file, frames=5, size=(32, 24))
    assert names == ["a.tif @ 0 s", "a.tif @ 0.4 s"]
    assert (brightness(clips).view(2, 5).diff(dim=1) < 12).all(), "no step over the damage"


def test_pictures_too_large_to_read_are_refused_by_their_size(tmp_path, monkeypatch):
    stack(tmp_path / "a.tif")
    monkeypatch.setattr(picture_films, "LARGEST", 24 * 32 - 1)
    with pytest.raises(ValueError, match=r"a\.tif \(32x24 pixels, at most 8192x8192 are read\)"):
        video_folder(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_what_a_png_says_of_itself_keeps_nobody_from_reading_it(tmp_path, packed):
    for number, picture in enumerate(pictures()):
        said = PngInfo()
        said.add_text("Comment", "hello" * (300_000 if packed else 1), zip=packed)
        picture.save(tmp_path / f"{number}.png", pnginfo=said)
    if not packed:
        data = (tmp_path / "3.png").read_bytes()
        (tmp_path / "3.png").write_bytes(data.replace(b"hello", b"jello"))  # a wrong checksum
    assert len(photo_folder(tmp_path, (32, 24))[0]) == FRAMES
    assert len(video_folder(tmp_path, frames=12, size=(32, 24))[0]) == 1


def colours_of_12_bits():
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 3000, (24, 32, 3))
    return [(ground + 60 * number).astype(np.uint16) for number in range(6)]


@pytest.mark.parametrize("kind", ["numbered", "stack"])
def test_colours_of_16_bits_are_scaled_alike_in_all_frames(tmp_path, kind):
    cv2 = pytest.importorskip("cv2")
    frames = colours_of_12_bits()
    if kind == "stack":
        _, data = cv2.imencodemulti(".tif", frames)
        (tmp_path / "a.tif").write_bytes(data.tobytes())
    else:
        for number, frame in enumerate(frames):
            cv2.imwrite(str(tmp_path / f"a{number}.png"), frame)
    with pytest.warns(UserWarning, match=r"a.*: its values go to 3\d{3}; 4095 is white"):
        clips, _ = video_folder(tmp_path, frames=6, size=(32, 24))
    steps = brightness(clips).diff()
    assert (abs(steps - 255 * 60 / 4095) < 0.1).all()


def test_masks_of_0_and_1_are_not_black(tmp_path):
    for number in range(6):
        mask = (np.indices((24, 32))[1] + number) % 8 < 4
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / f"{number}.png")
    with pytest.warns(UserWarning, match="its values are 0 and 1; 1 is white"):
        photos, _ = photo_folder(tmp_path, (32, 24))
    with pytest.warns(UserWarning, match="0.png: its values are 0 and 1; 1 is white"):
        clips, _ = video_folder(tmp_path, frames=6, size=(32, 24))
    assert photos.max() == 1 and 120 < brightness(clips).mean() < 135


def test_links_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    stack(tmp_path / "a.tif")
    with pytest.warns(UserWarning, match=r"gone.png \(a link that leads nowhere\)"):
        photo_folder(tmp_path, (32, 24))
    with pytest.warns(UserWarning, match=r"gone.png \(a link that leads nowhere\)"):
        video_folder(tmp_path, frames=5, size=(32, 24))
    with pytest.warns(UserWarning, match=r"gone.png \(a link that leads nowhere\)"):
        VideoClips(1, 5, 16, folders=(str(tmp_path),), cache=str(tmp_path / "cache"))
