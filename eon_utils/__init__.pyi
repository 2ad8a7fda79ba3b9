# The public face, by wing. Read by type checkers, and by lazy_loader when a name is first used.

from .config import resolve as resolve
from .config import setup as setup
from .data.atari import (
    HELD_OUT_GAMES as HELD_OUT_GAMES,
)
from .data.atari import (
    TRAINING_GAMES as TRAINING_GAMES,
)
from .data.atari import (
    AtariGames as AtariGames,
)
from .data.camera_pans import (
    MOVES as MOVES,
)
from .data.camera_pans import (
    CameraPans as CameraPans,
)
from .data.camera_pans import (
    LabelledMoves as LabelledMoves,
)
from .data.clips import CachedClips as CachedClips
from .data.clips import ClipSource as ClipSource
from .data.clips import Mixture as Mixture
from .data.dead_leaves import DeadLeaves as DeadLeaves
from .data.dead_leaves_images import dead_leaves_images as dead_leaves_images
from .data.moving_digits import MovingDigits as MovingDigits
from .data.photos import (
    FOREIGN_PHOTOS as FOREIGN_PHOTOS,
)
from .data.photos import (
    HELD_OUT_PHOTOS as HELD_OUT_PHOTOS,
)
from .data.photos import (
    PHOTOS as PHOTOS,
)
from .data.photos import (
    TRAINING_PHOTOS as TRAINING_PHOTOS,
)
from .data.photos import (
    photo_folder as photo_folder,
)
from .data.photos import (
    photos as photos,
)
from .data.photos import (
    random_crops as random_crops,
)
from .data.public import public_images as public_images
from .data.public import public_videos as public_videos
from .data.sources import SOURCES as SOURCES
from .data.video_folder import video_folder as video_folder
from .evaluation import few_shot as few_shot
from .evaluation import transfer as transfer
from .evaluation.baselines import (
    FRAME_BASELINES as FRAME_BASELINES,
)
from .evaluation.baselines import (
    PatchPCA as PatchPCA,
)
from .evaluation.baselines import (
    copy_last as copy_last,
)
from .evaluation.baselines import (
    flow_extrapolation as flow_extrapolation,
)
from .evaluation.baselines import (
    forward_flow as forward_flow,
)
from .evaluation.baselines import (
    jpeg as jpeg,
)
from .evaluation.metrics import (
    accuracy as accuracy,
)
from .evaluation.metrics import (
    deep_path_share as deep_path_share,
)
from .evaluation.metrics import (
    derivative_kurtosis as derivative_kurtosis,
)
from .evaluation.metrics import (
    next_frame_psnr as next_frame_psnr,
)
from .evaluation.metrics import (
    psnr as psnr,
)
from .evaluation.metrics import (
    spectral_slope as spectral_slope,
)
from .evaluation.metrics import (
    spectrum as spectrum,
)
from .evaluation.metrics import (
    ssim as ssim,
)
from .models.conv_autoencoder import (
    ConvAutoencoder as ConvAutoencoder,
)
from .models.conv_autoencoder import (
    FramePredictor as FramePredictor,
)
from .models.conv_autoencoder import (
    rollout as rollout,
)
from .models.motion_net import MotionNet as MotionNet
from .models.motion_net import MotionPrediction as MotionPrediction
from .models.optical_flow import lucas_kanade as lucas_kanade
from .models.optical_flow import warp as warp
from .models.pca_autoencoder import (
    Autoencoder as Autoencoder,
)
from .models.pca_autoencoder import (
    LocalPCA as LocalPCA,
)
from .models.pca_autoencoder import (
    ResidualBlock as ResidualBlock,
)
from .models.pca_autoencoder import (
    load_autoencoder as load_autoencoder,
)
from .models.pca_autoencoder import (
    patchify as patchify,
)
from .models.prior import Prior as Prior
from .models.prior import load_prior as load_prior
from .models.prior import save_prior as save_prior
from .notebook.claims import (
    Claims as Claims,
)
from .notebook.claims import (
    Ledger as Ledger,
)
from .notebook.claims import (
    check as check,
)
from .notebook.claims import (
    course_map as course_map,
)
from .notebook.display import show as show
from .notebook.display import show_source as show_source
from .notebook.display import table as table
from .notebook.figures import (
    architecture as architecture,
)
from .notebook.figures import (
    contact_sheet as contact_sheet,
)
from .notebook.figures import (
    curves as curves,
)
from .notebook.figures import (
    heat_sheet as heat_sheet,
)
from .notebook.figures import (
    layer_table as layer_table,
)
from .notebook.figures import (
    motion_sheet as motion_sheet,
)
from .notebook.figures import (
    smooth as smooth,
)
from .notebook.live_panel import live_panel as live_panel
from .notebook.player import show_clip as show_clip
from .notebook.scrubber import scrub as scrub
from .training import train_prior as train_prior
from .training.run import History as History
from .training.run import TrainingRun as TrainingRun
from .training.run import to_uint8 as to_uint8
