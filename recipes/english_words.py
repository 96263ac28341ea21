"""Build the list of English words that ships with the package.

    ISTHMUS_DATA=... python recipes/english_words.py /usr/share/dict/american-english-large

The argument is a SCOWL list as Debian's wamerican-large installs it; words of the English tokenizer text join it.
"""

from __future__ import annotations

import lzma
import os
import re
import sys
import unicodedata
from pathlib import Path

from isthmus import assets
from isthmus.reading.storage import atomic_write
from isthmus.vocabulary.ownership import is_latin

# Loanwords and names that the dictionary has only without their accents.
ACCENTED = (
    "résumé résumés naïve naïvely naïveté façade façades josé maría garcía señor señora señorita niño niña são déjà "
    "décor crème brûlée être tête noël zoë chloë brontë beyoncé renée andré rené québec montréal perú méxico "
    "panamá brasília düsseldorf müller jürgen björk dvořák erdős möbius bézier mélange ménage séance mâché rosé exposé "
    "touché élite crêpe crêpes über häagen mötley crüe pokémon"
).split()


def main() -> None:
    """Write assets/english.txt.xz."""
    listed = Path(sys.argv[1]).read_text(encoding="utf-8").split()
    with lzma.open(Path(os.environ["ISTHMUS_DATA"], "text", "en.txt.xz"), "rt", encoding="utf-8") as stream:
        seen = {word for line in stream for word in re.findall(r"\w+", line.lower()) if word.isascii()}
    parts = (part for word in (*listed, *ACCENTED, *seen) for part in re.split(r"\W+", word.removesuffix("'s").lower()))
    words = sorted({unicodedata.normalize("NFC", word) for word in parts if len(word) > 1 and all(map(is_latin, word))})
    atomic_write(
        assets.english_words(), lzma.compress("\n".join([*words, ""]).encode(), preset=9 | lzma.PRESET_EXTREME)
    )
    print(f"{len(words):,} words")


if __name__ == "__main__":
    main()
