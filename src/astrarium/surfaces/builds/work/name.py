"""Names of builds that people can tell apart: `brave-tiger-76`."""

from __future__ import annotations

import random

ADJECTIVES = (
    "amber", "brave", "bright", "brisk", "calm", "clear", "clever", "cosmic", "crisp", "deep", "early", "eager", "fair", "fast",
    "fine", "fresh", "gentle", "golden", "grand", "happy", "keen", "kind", "light", "lively", "lucky", "mellow", "merry", "mild",
    "nimble", "noble", "patient", "plain", "proud", "quick", "quiet", "rapid", "ready", "round", "sharp", "silent", "silver", "smooth",
    "solid", "steady", "still", "sunny", "swift", "tidy", "vivid", "warm", "wide", "wise",
)  # fmt: skip
NOUNS = (
    "anchor", "badger", "beacon", "birch", "brook", "canyon", "cedar", "cliff", "cloud", "comet", "coral", "crane", "delta", "dune",
    "eagle", "ember", "falcon", "fern", "field", "forest", "fox", "garden", "glacier", "harbor", "hawk", "heron", "island", "lake",
    "lantern", "lark", "maple", "meadow", "moon", "mountain", "oak", "ocean", "orbit", "otter", "owl", "pine", "planet", "pulsar",
    "raven", "reef", "ridge", "river", "sparrow", "spring", "star", "storm", "summit", "thunder", "tiger", "valley", "willow", "wind",
)  # fmt: skip


def build_name() -> str:
    """A fresh name; another build may have it too."""
    return f"{random.choice(ADJECTIVES)}-{random.choice(NOUNS)}-{random.randint(10, 99)}"
