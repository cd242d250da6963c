"""The shapes of the DAG API, field for field (Dagu 1.30, `/api/v2`), one file a noun. Fields without a default are always
present; the others are left out when empty. What is asked and answered belongs here, what it means does not."""

from . import access, definition, live, notice, queue, run, schedule, shape, step, system, webhook

__all__ = ["access", "definition", "live", "notice", "queue", "run", "schedule", "shape", "step", "system", "webhook"]
