"""The functions of `sales-report.yaml`. What one returns is its step's output; what it prints is in the step's log."""

from __future__ import annotations

import csv
import random
from pathlib import Path


def write_part(out: str, region: str, rows: str) -> str:
    """Write a region's sales as CSV. The same region always sells the same."""
    chance = random.Random(region)
    path = Path(out, "parts", f"{region}.csv")
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["order", "pieces", "price"])
        table.writerows([number, chance.randint(1, 9), chance.randint(5, 500)] for number in range(int(rows)))
    print(f"{path}: {path.stat().st_size:,} bytes")
    return str(path)


def sum_up(out: str, region: str) -> dict[str, int]:
    """Add a region's sales up into a file of one line."""
    with Path(out, "parts", f"{region}.csv").open(newline="") as file:
        revenue = sum(int(row["pieces"]) * int(row["price"]) for row in csv.DictReader(file))
    Path(out, "sums", f"{region}.csv").write_text(f"{region},{revenue}\n")
    print(f"{region} sold for {revenue:,}")
    return {region: revenue}
