"""The panels of the notebooks: knobs, Run and Stop, a picture and a curve that change while you watch.

A panel is the last line of a cell. Nothing runs before Run is pressed; while it runs, the kernel stays free for other
cells, and Stop answers within a step.
"""

from helpers.panels.deepdream import deepdream_panel
from helpers.panels.digit import digit_panel
from helpers.panels.fine_tuning import fine_tuning_panel
from helpers.panels.style_transfer import style_transfer_panel
from helpers.panels.training import training_panel

__all__ = ["deepdream_panel", "digit_panel", "fine_tuning_panel", "style_transfer_panel", "training_panel"]
