"""One case after the other: change a valid file, read it, and look at what comes out."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import IsthmusError
from tests.fuzz.mutations import mutated

FINDS = Path(__file__).parent / "finds"
SECONDS = 20
MEMORY = 2**30
VICTIM = "nobody may write here"


@dataclass(frozen=True)
class Target:
    """A reader of bytes from outside.

    Attributes:
        make: Write valid files into a folder.
        read: Read them in every way; what it gives for changed files need not be what it gives for valid ones, unless
            ``sealed``.
        sealed: Digests protect the files: a change is refused, or makes no difference.
        files: Which of them are changed.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    sealed: bool = False
    files: tuple[str, ...] = ("*",)


class Find(AssertionError):
    """Something that must not happen."""


class Cases:
    """Cases of a target, in a folder.

    Args:
        target: The target.
        root: An empty folder.
    """

    def __init__(self, target: Target, root: Path) -> None:
        self.target = target
        self.valid, self.work = root / "valid", root / "work" / "deep" / "files"
        self.valid.mkdir()
        target.make(self.valid)
        found = sorted(path for pattern in target.files for path in self.valid.rglob(pattern) if path.is_file())
        self.names = [path.relative_to(self.valid) for path in found if path.name != ".lock"]
        self._restore()
        # Without bounds: it loads libraries.
        self.right = target.read(self.work)

    def change(self, seed: int) -> dict[Path, bytes]:
        """The files of a case, and what is in them."""
        generator = random.Random(seed)
        names = [generator.choice(self.names) for _ in range(generator.choice((1, 1, 1, 2)))]
        return {name: mutated((self.valid / name).read_bytes(), generator) for name in names}

    def kept(self, name: str) -> Iterator[dict[Path, bytes]]:
        """Past finds."""
        for folder in sorted((FINDS / name).glob("*")):
            paths = [path for path in folder.rglob("*") if path.is_file()]
            yield {path.relative_to(folder): path.read_bytes() for path in paths}

    def run(self, files: dict[Path, bytes]) -> bool:
        """Read a case; tells whether it was refused.

        Raises:
            Find: If it ends in anything but an answer or an error of Isthmus.
        """
        self._restore()
        for name, content in files.items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).write_bytes(content)
        victim = self.work.parent.parent / "victim"
        victim.write_text(VICTIM)
        try:
            found = self._read()
        except IsthmusError as error:
            if "\n" in str(error).strip() or len(str(error)) > 5000:
                raise Find(f"the message is not a line: {str(error)[:200]!r}") from error
            return True
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise Find(f"{type(error).__name__}: {error}"[:300]) from error
        finally:
            if victim.read_text() != VICTIM or len(list(victim.parent.iterdir())) != 2:
                raise Find("something was written outside the folder")
        if self.target.sealed and found != self.right:
            raise Find("a change was not noticed")
        return False

    def _restore(self) -> None:
        shutil.rmtree(self.work.parent.parent, ignore_errors=True)
        shutil.copytree(self.valid, self.work)

    def _read(self) -> Any:
        with warnings.catch_warnings(), _bounded():
            warnings.simplefilter("ignore")
            return self.target.read(self.work)


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Bounds of time and memory, which raise."""
    import resource

    def late(number: int, frame: Any) -> None:
        raise Find(f"not read within {SECONDS} s")

    limits = resource.getrlimit(resource.RLIMIT_DATA)
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        if sys.platform.startswith("linux"):
            held = next(
                line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData")
            )
            resource.setrlimit(resource.RLIMIT_DATA, (int(held.split()[1]) * 1024 + MEMORY, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def described(error: Find) -> str:
    """A find with the place it comes from."""
    cause = error.__cause__
    frames = traceback.extract_tb(cause.__traceback__) if cause else []
    own = [frame for frame in frames if "isthmus" in frame.filename]
    place = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    return f"{error}{place}"
