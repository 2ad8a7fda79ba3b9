# The public face, by wing. Type checkers read it, and lazy_loader when a name is first used.

from .config import setup as setup
from .data.atari import (
    HELD_OUT_GAMES as HELD_OUT_GAMES,
    TRAINING_GAMES as TRAINING_GAMES,
    AtariGames as AtariGames,
)
from .data.camera_pans import (
    MOVES as MOVES,
    CameraPans as CameraPans,
    LabelledMoves as LabelledMoves,
)
from .data.clips import CachedClips as CachedClips, ClipSource as ClipSource, Mixture as Mixture
from .data.dead_leaves import DeadLeaves as DeadLeaves
from .data.dead_leaves_images import dead_leaves_images as dead_leaves_images
from .data.moving_digits import MovingDigits as MovingDigits
from .data.photos import (
    FOREIGN_PHOTOS as FOREIGN_PHOTOS,
    HELD_OUT_PHOTOS as HELD_OUT_PHOTOS,
    PHOTOS as PHOTOS,
    TRAINING_PHOTOS as TRAINING_PHOTOS,
    photo_folder as photo_folder,
    photo_titles as photo_titles,
    photos as photos,
    random_crops as random_crops,
)
from .data.public import public_images as public_images, public_videos as public_videos
from .data.sources import SOURCES as SOURCES
from .data.video_clips import VideoClips as VideoClips, score_clips as score_clips
from .data.video_folder import video_folder as video_folder
from .evaluation import few_shot as few_shot, transfer as transfer
from .evaluation.baselines import (
    FRAME_BASELINES as FRAME_BASELINES,
    PatchPCA as PatchPCA,
    copy_last as copy_last,
    flow_extrapolation as flow_extrapolation,
    forward_flow as forward_flow,
    jpeg as jpeg,
)
from .evaluation.metrics import (
    accuracy as accuracy,
    deep_path_share as deep_path_share,
    derivative_kurtosis as derivative_kurtosis,
    next_frame_psnr as next_frame_psnr,
    psnr as psnr,
    spectral_slope as spectral_slope,
    spectrum as spectrum,
    ssim as ssim,
)
from .models.coarse_to_fine import coarse_to_fine as coarse_to_fine
from .models.conv_autoencoder import (
    ConvAutoencoder as ConvAutoencoder,
    FramePredictor as FramePredictor,
    rollout as rollout,
)
from .models.descriptors import velocity_histogram as velocity_histogram
from .models.optical_flow import lucas_kanade as lucas_kanade, warp as warp
from .models.past_fit import PastFit as PastFit, fit_to_past as fit_to_past
from .models.pca_autoencoder import (
    Autoencoder as Autoencoder,
    LocalPCA as LocalPCA,
    ResidualBlock as ResidualBlock,
    load_autoencoder as load_autoencoder,
    patchify as patchify,
)
from .models.prior import Prior as Prior, load_prior as load_prior, save_prior as save_prior
from .models.trajectory_net import (
    Reading as Reading,
    Trajectory as Trajectory,
    TrajectoryNet as TrajectoryNet,
)
from .notebook import trials as trials
from .notebook.claims import (
    Claims as Claims,
    Ledger as Ledger,
    course_map as course_map,
)
from .notebook.display import (
    limit_pictures as limit_pictures,
    show as show,
    show_source as show_source,
    table as table,
)
from .notebook.exercises import (
    answer_hash as answer_hash,
    check as check,
    progress as progress,
)
from .notebook.export import export as export
from .notebook.figures import (
    architecture as architecture,
    contact_sheet as contact_sheet,
    curves as curves,
    error_sheet as error_sheet,
    flow_colours as flow_colours,
    heat_sheet as heat_sheet,
    layer_table as layer_table,
    motion_sheet as motion_sheet,
    panels as panels,
    smooth as smooth,
)
from .notebook.live_panel import live_panel as live_panel
from .notebook.parameters import resolve as resolve
from .notebook.player import play as play, show_clip as show_clip
from .notebook.scrubber import scrub as scrub
from .notebook.sketches import strips as strips
from .notebook.sweeps import (
    learning_figure as learning_figure,
    read_sweep as read_sweep,
    sweep_figure as sweep_figure,
)
from .training import (
    prior_scaling as prior_scaling,
    recording as recording,
    train_prior as train_prior,
)
from .training.history import History as History, to_uint8 as to_uint8
from .training.run import TrainingRun as TrainingRun
