"""Governance packs: what their manifest says (`manifest`), whether their signature holds (`signature`), and what they demand of a run
as data (`policy`). A pack's rules are read from its files elsewhere and handed in.
"""
