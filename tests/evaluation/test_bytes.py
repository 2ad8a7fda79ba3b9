"""Pictures and clips of bytes count as 255ths, wherever they are taken; other types are refused."""

import numpy as np
import pytest
import torch

import eon_utils as eon
from eon_utils.evaluation.baselines import linear_extrapolation
from eon_utils.training.history import to_uint8

torch.manual_seed(0)
CLIPS = torch.randint(0, 256, (3, 13, 3, 32, 32), dtype=torch.uint8)
CLIPS[:, 1:] = CLIPS[:, :1]  # so that there is something to predict
CLIPS[:, :, :, 8:16, 8:16] = torch.arange(13, dtype=torch.uint8)[:, None, None, None] * 20
PICTURES = CLIPS[:, 0]
MODEL = eon.ConvAutoencoder(skips=True).eval()
PREDICTOR = eon.FramePredictor(context=2, residual=True).eval()
LOST = torch.zeros(3, 1, 32, 32, dtype=torch.bool)
LOST[:, :, 10:20, 10:20] = True


def scratch(clips):
    torch.manual_seed(0)
    return eon.few_shot.train_from_scratch(clips[:, :2], torch.arange(3), clips[:, :2], 3)


def tuned(clips):
    def loss(model, batch, step):
        return (model(batch[:, :-1]) - batch[:, -1]).square().mean()

    unseen = clips[:, :3] / 255 if clips.dtype == torch.uint8 else clips[:, :3]
    return eon.transfer.fine_tune(PREDICTOR, clips[:, :3], unseen, loss, (0, 2), 0).psnr


OF_PICTURES = {
    "psnr": lambda x: eon.psnr(x, x.flip(0)),
    "psnr of both kinds": lambda x: eon.psnr(PICTURES.flip(0) / 255, x),
    "accuracy": lambda x: eon.accuracy(x, x.flip(0)),
    "ssim": lambda x: eon.ssim(x, x.flip(0)),
    "spectrum": lambda x: eon.spectrum(x)[1],
    "slope": eon.spectral_slope,
    "kurtosis": eon.derivative_kurtosis,
    "PCA": lambda x: eon.PatchPCA(x, 8)(x, 512),
    "jpeg": lambda x: eon.jpeg(x, 900),
    "to_uint8": to_uint8,
    "autoencoder": MODEL,
    "inpaint": lambda x: eon.transfer.inpaint(x, LOST),
    "psnr_where": lambda x: eon.transfer.psnr_where(x, x.flip(0), LOST),
}
OF_CLIPS = {
    **eon.FRAME_BASELINES,
    "linear": linear_extrapolation,
    "forward_flow": eon.forward_flow,
    "predictor": PREDICTOR,
    "rollout": lambda x: eon.rollout(eon.copy_last, x, 3),
    "next_frame_psnr": lambda x: eon.next_frame_psnr(eon.copy_last, x),
    "deep_path_share": lambda x: eon.deep_path_share(PREDICTOR, x),
    "pca_features": lambda x: eon.few_shot.pca_features(x, x)[0].norm(dim=1),
    "from scratch": scratch,
    "fine_tune": tuned,
    "events": lambda x: eon.transfer.make_events(x, 0)["new object"],
    "surprise": lambda x: eon.transfer.surprise(eon.copy_last, eon.transfer.make_events(x, 0))[
        "teleport"
    ],
    "surprise of bytes": lambda x: eon.transfer.surprise(eon.copy_last, {"a": x})["a"],
    "between": lambda x: eon.transfer.between(eon.copy_last, x[:, :4], x[:, 5:9]),
    "by flow": lambda x: eon.transfer.interpolate_by_flow(x[:, :4], x[:, 5:9]),
    "leave_one_out": lambda x: eon.transfer.leave_one_out(
        lambda clips, times: clips[:, 0], x[:, :3]
    ),
    "several questions": lambda x: eon.transfer.several_questions(
        lambda clips, steps: eon.rollout(eon.copy_last, clips, steps),
        lambda before, after: before[:, -1],
        x,
        0,
    )["lost square"],
    "inpainted": lambda x: eon.transfer.inpainted(x, 0)["lost square"],
}
TAKERS = {name: (function, PICTURES) for name, function in OF_PICTURES.items()}
TAKERS |= {name: (function, CLIPS) for name, function in OF_CLIPS.items()}


@pytest.mark.parametrize("name", TAKERS)
def test_bytes_count_as_255ths(name):
    function, values = TAKERS[name]
    of_bytes, of_floats = (
        torch.as_tensor(function(given)).detach().float() for given in (values, values / 255)
    )
    assert torch.allclose(of_bytes, of_floats, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TAKERS)
def test_other_types_are_refused_by_name(name):
    function, values = TAKERS[name]
    with pytest.raises(ValueError, match=r"of float in \[0, 1\] or uint8, not torch\.int64"):
        function(values.long())


def test_what_is_no_tensor_is_refused():
    for function in (eon.copy_last, eon.flow_extrapolation, PREDICTOR):
        with pytest.raises(TypeError, match=r"as a torch\.Tensor, not ndarray; torch\.from_n"):
            function(np.zeros((1, 3, 3, 32, 32), np.float32))


def test_what_is_watched_may_be_bytes(tmp_path):
    runs = []
    for watched in (PICTURES, PICTURES / 255):
        run = eon.TrainingRun(MODEL, 1, watched=watched, name="bytes", folder=tmp_path)
        runs.append((run.history.target, run.pictures()))
    assert all(np.array_equal(*pair) for pair in zip(*runs, strict=True))


def test_sheets_show_bytes_as_they_are():
    shown = []
    for pictures in (PICTURES, PICTURES / 255):
        fig = eon.contact_sheet({"a": pictures})
        shown.append(np.asarray(fig.axes[0].images[0].get_array()))
    assert np.allclose(*shown, atol=1e-6)
