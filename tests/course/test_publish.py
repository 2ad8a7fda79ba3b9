"""What is saved of a notebook that ran."""

from base64 import b64decode, b64encode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from eon_utils.course.publish import without_alpha


@pytest.mark.parametrize("clear", [False, True])
def test_an_alpha_channel_is_kept_where_it_says_something(clear):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[3, 4, 3] -= clear
    packed = BytesIO()
    Image.fromarray(pixels).save(packed, "PNG", dpi=(90, 90))
    before = b64encode(packed.getvalue()).decode()
    after = without_alpha(before)
    picture = Image.open(BytesIO(b64decode(after)))
    assert picture.mode == ("RGBA" if clear else "RGB") and round(picture.info["dpi"][0]) == 90
    assert np.array_equal(np.asarray(picture.convert("RGBA")), pixels)
    assert (after == before) is clear and without_alpha(after) == after
