"""The rooms where foreign words are spoken: one folder per API dialect, all with the same furniture.

`catalog` (named entries), `views` (rows into the shapes readers know), `order` (words into commands) and `routes` (paths into
both). `operation` is the table form in which every room lists its routes. A rule about how a run lives does not belong
here: it is the run machine's. Rooms never import each other.
"""
