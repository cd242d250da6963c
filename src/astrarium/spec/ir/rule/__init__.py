"""Rules of the graph dialect: when they match (`when`, `pattern`) and what they then do (`action`), read into parts of a `Flow`."""
