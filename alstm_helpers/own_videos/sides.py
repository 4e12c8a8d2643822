"""Divide own clips into training and validation so that each class is on both sides in the same proportion.

YouTube-8M's many videos can be divided by a hash of the id (:func:`alstm_helpers.data.lists.side_of`). Own clips are
few: by a hash, a class of twenty may have eighteen clips on one side.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

ALL = -1  # counts clips of any class among the counts of classes


def balanced_sides(
    units: Mapping[bytes, Counter[int]], val_share: float, given: Mapping[bytes, str]
) -> dict[bytes, str]:
    """Return ``train`` or ``val`` for each unit: clips that must stay together.

    One unit after the other, large ones first, then by a hash of its name, goes to validation if that brings the counts
    of its classes there nearer to the share; or the count of all clips, and no class gets a whole clip too many (after
    K. Sechidis, G. Tsoumakas and I. Vlahavas, On the Stratification of Multi-Label Data, 2011). With two new units or
    more neither side stays empty.

    Args:
        units: by name, how many clips it has of each class, and under ``ALL`` how many in all.
        val_share: of the clips for validation, between 0 and 1.
        given: sides that are fixed.
    """
    total = sum(units.values(), Counter())
    have: Counter[int] = Counter()  # in validation
    sides: dict[bytes, str] = {}

    def is_due(name: bytes) -> bool:
        """Tell whether a unit is to go to validation."""
        excess = {key: have[key] - val_share * total[key] for key in units[name]}
        change = {key: (2 * excess[key] + count) * count / total[key] for key, count in units[name].items()}
        nearer = sum(value for key, value in change.items() if key != ALL) < 0
        return nearer or (change[ALL] < 0 and all(excess[key] + count < 1 for key, count in units[name].items()))

    for name in [*(name for name in given if name in units), *_in_order(units.keys() - given.keys(), units)]:
        sides[name] = given.get(name) or ("val" if is_due(name) else "train")
        if sides[name] == "val":
            have += units[name]
    for side in ("val", "train"):
        free = [name for name in sides if name not in given]
        if side not in sides.values() and len(free) > 1:
            sides[min(free, key=lambda name: (units[name][ALL], _hash(name)))] = side
    return sides


def _in_order(names: set[bytes], units: Mapping[bytes, Counter[int]]) -> list[bytes]:
    return sorted(names, key=lambda name: (-units[name][ALL], _hash(name)))


def _hash(name: bytes) -> bytes:
    return hashlib.md5(name).digest()
