"""Residual k-means: a vector as R codes, each of what the codes before it leave.

::

    residual 0 = v;   code r = nearest centroid of level r to residual r;   residual r + 1 = residual r - centroid

Letters: N vectors of width W, R levels, K centroids per level.
"""

from __future__ import annotations

from logging import getLogger

import numpy as np
import torch
from torch import Tensor

from recbole_clickprompt.errors import SettingError

__all__ = ["assign_codes", "fit_codebooks"]

_ROWS_AT_ONCE = 4096


def fit_codebooks(vectors: Tensor, *, levels: int, size: int, seed: int) -> Tensor:
    """The centroids of each level, ``(R, K, W)`` float32 on the CPU.

    Args:
        vectors: ``(N, W)``, each item once.
        levels: R.
        size: K.
        seed: Of the initial centroids.

    Raises:
        SettingError: There are fewer than two different vectors, or a level has fewer distinct residuals than
            centroids.
    """
    from sklearn.cluster import KMeans

    residuals = vectors.cpu().double().numpy()
    codebooks = []
    for level in range(levels):
        distinct = len(np.unique(residuals.round(6), axis=0))
        if not level and distinct < 2:
            raise SettingError(
                f"the items of training rows have {distinct} different texts, and codes need at least 2; name "
                "fields of items that differ in text_fields"
            )
        if distinct < size:
            left = "different texts of items" if not level else f"different residuals before level {level + 1}"
            raise SettingError(
                f"codebook_size is {size}, but the training rows have {distinct} {left}; set it to {distinct} or "
                f"less{', or lower code_levels' if level else ''}"
            )
        fitted = KMeans(size, n_init=1, max_iter=100, random_state=seed + level).fit(residuals)
        centroids = fitted.cluster_centers_.astype(np.float32)
        residuals = residuals - centroids[fitted.labels_]
        error = float((residuals**2).sum(axis=1).mean())
        getLogger().info(f"semantic ids: mean squared error after level {level + 1}: {error:.4f}")
        codebooks.append(torch.from_numpy(centroids))
    return torch.stack(codebooks)


def assign_codes(vectors: Tensor, codebooks: Tensor) -> Tensor:
    """The codes of vectors; those of the vector 0, which stands for no text, are K.

    Args:
        vectors: ``(N, W)``.
        codebooks: ``(R, K, W)``.

    Returns:
        ``(N, R)`` int64, on the device of the codebooks.
    """
    levels, size, _ = codebooks.shape
    codes = torch.full((len(vectors), levels), size, dtype=torch.int64, device=codebooks.device)
    for begin in range(0, len(vectors), _ROWS_AT_ONCE):
        residuals = vectors[begin : begin + _ROWS_AT_ONCE].to(codebooks.device, torch.float64)
        has_text = residuals.any(dim=1)
        for level, centroids in enumerate(codebooks.double()):
            nearest = torch.cdist(residuals, centroids, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
            residuals = residuals - centroids[nearest]
            codes[begin : begin + _ROWS_AT_ONCE, level] = torch.where(has_text, nearest, size)
    return codes
