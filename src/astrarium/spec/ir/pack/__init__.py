"""Governance packs: what their manifest says (`manifest`), whether their signature holds (`signature`), what their rules may hold
(`rules`), and what they demand of a run as data (`policy`). Files are read elsewhere and handed in.
"""
