"""A small build that needs no server: `python examples/build_a_pipeline.py [FOLDER]`.

Word counts of a few texts are made side by side, joined, and turned into a report. Run it twice: the second time nothing is left to do.
Change `SHORTEST` and only what depends on it is made again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import astrarium as ar

TEXTS = {
    "iliad": "sing goddess the anger of peleus son achilleus and its devastation",
    "odyssey": "tell me muse of the man of many ways who was driven far journeys",
    "aeneid": "i sing of arms and of a man his fate had made him fugitive",
}
SHORTEST = 4


@ar.task
def text(name: str) -> str:
    """Where a real pipeline would fetch something."""
    return TEXTS[name]


@ar.task(version="1")
def words(of: ar.Depends[str], shortest: int) -> dict[str, int]:
    """How often each word of at least `shortest` letters occurs."""
    found = [word for word in of.split() if len(word) >= shortest]
    return {word: found.count(word) for word in sorted(set(found))}


class Joined(ar.Task[dict[str, int]]):
    """All counts in one. A class, because it shows something for the registry too."""

    parts: list[ar.TaskLoads[dict[str, int]]]

    def requires(self) -> ar.TaskStruct:
        return self.parts

    def run(self) -> None:
        total: dict[str, int] = {}
        for part in self.parts:
            for word, number in part.load().items():
                total[word] = total.get(word, 0) + number
        self._save(total)

    def artifacts(self) -> list[ar.JSONArtifact]:
        return [ar.JSONArtifact(name="size", body={"words": len(self.load())})]


@ar.task
def report(counts: ar.Depends[dict[str, int]], longest: int = 3) -> str:
    """The first few words by length."""
    best = sorted(counts, key=lambda word: (-len(word), word))[:longest]
    return "".join(f"{word}: {counts[word]}\n" for word in best)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="astrarium-example-"))
    task = report(counts=Joined(parts=[words(of=text(name=name), shortest=SHORTEST) for name in TEXTS]))
    with ar.use_target_roots({"default": str(folder)}):
        print(ar.build(task, registry=ar.NoOpRegistry()))
        print(task.load(), end="")
    print(f"results lie in {folder}")


if __name__ == "__main__":
    main()
