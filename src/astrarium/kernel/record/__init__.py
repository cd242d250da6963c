"""What is kept and is no life: `entry` (versioned rows that people edit) and `things` (put once by hash, never changed).

A rule about one kind of entry (what a user or a key is) does not belong here, but with the surface that owns the kind.
"""
