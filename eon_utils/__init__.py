"""Eye of Newt: what the notebooks share. Import from here; the modules are floors (see README)."""

from eon_utils import prior_training, transfer, videos
from eon_utils.autoencoders import Autoencoder, Bank, ResidualBlock, cells, load_autoencoder
from eon_utils.baselines import (
    FRAME_BASELINES,
    PatchPCA,
    carried_flow,
    copy_last,
    jpeg,
    optical_flow,
)
from eon_utils.claims import Claims, Ledger, check, course_map
from eon_utils.display import show, show_source, table
from eon_utils.flow import lucas_kanade, warp
from eon_utils.images import FOREIGN, HELD_OUT, PHOTOS, TRAINING, crops, dataset, folder, photos
from eon_utils.metrics import (
    accuracy,
    deep_path_share,
    derivative_kurtosis,
    next_frame_psnr,
    psnr,
    spectral_slope,
    spectrum,
    ssim,
)
from eon_utils.models import ConvAutoencoder, FramePredictor, rollout
from eon_utils.player import show_clip
from eon_utils.plotting import (
    architecture,
    contact_sheet,
    curves,
    heat_sheet,
    layer_table,
    motion_sheet,
    smooth,
)
from eon_utils.presets import resolve, setup
from eon_utils.prior import Explanation, Prior, load_prior, save_prior
from eon_utils.scenes import scenes
from eon_utils.training import History, TrainingRun, pictures
from eon_utils.widgets import live_panel, scrub

__all__ = [
    "FOREIGN",
    "FRAME_BASELINES",
    "HELD_OUT",
    "PHOTOS",
    "TRAINING",
    "Autoencoder",
    "Bank",
    "Claims",
    "ConvAutoencoder",
    "Explanation",
    "FramePredictor",
    "History",
    "Ledger",
    "PatchPCA",
    "Prior",
    "ResidualBlock",
    "TrainingRun",
    "accuracy",
    "architecture",
    "carried_flow",
    "cells",
    "check",
    "contact_sheet",
    "copy_last",
    "course_map",
    "crops",
    "curves",
    "dataset",
    "deep_path_share",
    "derivative_kurtosis",
    "folder",
    "heat_sheet",
    "jpeg",
    "layer_table",
    "live_panel",
    "load_autoencoder",
    "load_prior",
    "lucas_kanade",
    "motion_sheet",
    "next_frame_psnr",
    "optical_flow",
    "photos",
    "pictures",
    "prior_training",
    "psnr",
    "resolve",
    "rollout",
    "save_prior",
    "scenes",
    "scrub",
    "setup",
    "show",
    "show_clip",
    "show_source",
    "smooth",
    "spectral_slope",
    "spectrum",
    "ssim",
    "table",
    "transfer",
    "videos",
    "warp",
]
