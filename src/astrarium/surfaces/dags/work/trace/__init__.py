"""Distributed traces: runs as spans, and how they reach a collector. Nothing here may delay a run."""
