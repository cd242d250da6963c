"""The shapes of the DAG API, field for field (Dagu 1.30, `/api/v2`), one file a noun. Fields without a default are always
present; the others are left out when empty. What is asked and answered belongs here, what it means does not."""

from . import definition, run, shape, step, system

__all__ = ["definition", "run", "shape", "step", "system"]
