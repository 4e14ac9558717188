"""The arrays that flow between all layers."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
"""float32 of any shape."""

Image: TypeAlias = NDArray[np.float32]
"""(H, W, 3) RGB in [0, 1], C-contiguous: what flows between all stages outside `models/`."""

Samples: TypeAlias = NDArray[Any]
"""(H, W, C) uint8 or uint16 as they stand in files: C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)."""
