"""The loss that the network is trained with, and its weights for rare classes."""

from __future__ import annotations

import numpy as np

from alstm_helpers.runtime import Tensor, paddle


def summed_loss(logits: Tensor, labels: Tensor, positive_weights: Tensor | None = None) -> Tensor:
    """Sum the sigmoid cross-entropy over classes and over the batch, the loss of the original trainings.

    Args:
        logits, labels: float32 (B, C).
        positive_weights: float32 (C,), the weight of a true label of each class; None for 1.

    Returns:
        float32 scalar.
    """
    return paddle.nn.functional.binary_cross_entropy_with_logits(
        logits, labels, reduction="sum", pos_weight=positive_weights
    )


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Compute the weight of a true label of each class: the mean count divided by the count of the class.

    With it, all classes weigh the same in the loss (G. King and L. Zeng, Logistic Regression in Rare Events Data, 2001,
    as scikit-learn's ``class_weight="balanced"``). Limited to [0.1, 10], because a class seen once says little.

    Args:
        counts: number of videos of each class, (C,).

    Returns:
        float32 (C,); 1 for a class that does not occur.
    """
    present = counts > 0
    mean = counts[present].mean() if present.any() else 1.0
    weights = np.where(present, mean / np.maximum(counts, 1), 1.0)
    return np.clip(weights, 0.1, 10).astype(np.float32)
