from .sdk.names import *  # noqa: F403

__version__: str
