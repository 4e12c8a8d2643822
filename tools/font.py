"""Make the font of Chinese figures: the characters of GB 2312 and signs of Noto Sans CJK SC, under a name of its own.

    python tools/font.py NotoSansCJK-Regular.ttc

The font is under the SIL Open Font License, which allows parts; the whole has 65,535 glyphs and 16 MB, this has 1.6 MB.
A name of its own keeps figures the same on machines that have the whole.
"""

from __future__ import annotations

import sys

from fontTools.subset import Options, Subsetter, save_font
from fontTools.ttLib import TTCollection, TTFont

from alstm_helpers.figures.plots import CJK_FAMILY, CJK_FILE

FACE = "Noto Sans CJK SC"
SIGNS = (range(0x20, 0x7F), range(0xA0, 0x100), range(0x2010, 0x203B), range(0x2190, 0x2194), range(0x2200, 0x2300))


def characters() -> set[int]:
    """Return the code points of GB 2312, and of Latin letters, signs, arrows and mathematics."""
    pairs = (bytes([high, low]) for high in range(0xA1, 0xF8) for low in range(0xA1, 0xFF))
    chinese = "".join(pair.decode("gb2312", errors="ignore") for pair in pairs)
    return {ord(character) for character in chinese} | {code for part in SIGNS for code in part}


def subset(font: TTFont) -> None:
    """Leave only the characters above, without layout rules and hints, and name the font."""
    options = Options(layout_features=[], hinting=False, name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14], name_languages=[0x409])
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=characters())
    subsetter.subset(font)
    for record in font["name"].names:
        names = {1: CJK_FAMILY, 3: CJK_FAMILY, 4: CJK_FAMILY, 6: CJK_FAMILY.replace(" ", "")}
        record.string = names.get(record.nameID, record.toUnicode())
    font["CFF "].cff.topDictIndex[0].FamilyName = CJK_FAMILY
    font["head"].modified = font["head"].created
    font.recalcTimestamp = False


def main(path: str) -> int:
    """Write the subset of one face of a collection of fonts."""
    faces = [face for face in TTCollection(path) if face["name"].getDebugName(4) == FACE]
    if len(faces) != 1:
        sys.exit(f"error: {path}: {len(faces)} faces {FACE!r}; expected one")
    subset(faces[0])
    save_font(faces[0], str(CJK_FILE), Options())
    print(f"{CJK_FILE}: {CJK_FILE.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
