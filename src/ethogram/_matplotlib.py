"""The only module that imports Matplotlib; it silences the notice about the font cache.

For a user without a writable home it logs three lines about a cache that saves one second.
"""

from __future__ import annotations

import logging

_logger = logging.getLogger("matplotlib")
_level = _logger.level
_logger.setLevel(logging.ERROR)
try:
    import matplotlib as mpl
    from matplotlib import ticker
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
finally:
    _logger.setLevel(_level)

__all__ = ["Figure", "FigureCanvasAgg", "mpl", "ticker"]
