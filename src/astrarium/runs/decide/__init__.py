"""What a run answers to an order: events, or a refusal. Pure; one file for each kind of thing asked, and `table` that says which.
"""
