"""Eye of Newt: what the notebooks share. Import from here; the modules are floors (see README)."""

from eon_utils.claims import Claims, Ledger, check, course_map
from eon_utils.display import show, show_source, table
from eon_utils.images import PHOTOS, folder, photos
from eon_utils.metrics import accuracy, psnr, spectrum, ssim
from eon_utils.models import ConvAutoencoder
from eon_utils.plotting import (
    architecture,
    contact_sheet,
    curves,
    heat_sheet,
    layer_table,
    smooth,
)
from eon_utils.presets import resolve, seed_everything, setup
from eon_utils.training import History, TrainingRun, pictures
from eon_utils.widgets import live_panel, scrub

__all__ = [
    "PHOTOS",
    "Claims",
    "ConvAutoencoder",
    "History",
    "Ledger",
    "TrainingRun",
    "accuracy",
    "architecture",
    "check",
    "contact_sheet",
    "course_map",
    "curves",
    "folder",
    "heat_sheet",
    "layer_table",
    "live_panel",
    "photos",
    "pictures",
    "psnr",
    "resolve",
    "scrub",
    "seed_everything",
    "setup",
    "show",
    "show_source",
    "smooth",
    "spectrum",
    "ssim",
    "table",
]
