"""Where declared secrets come from, one file a provider, reached by entry point (`astrarium.secrets`).

What belongs here: reading one value by its key. What does not: when values are read and where they are masked (`runs.work`).
"""
