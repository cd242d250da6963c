"""What PostgreSQL's and the network's errors mean to the person who can mend them."""

from __future__ import annotations

import asyncpg

from ..errors import AstrariumError, Bug, Unavailable

AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""The transaction lost against another one; the same again will do."""

UNFIT_TEXT = asyncpg.DataError
"""A text may hold characters this database cannot keep (a lone surrogate is refused by the client, U+0000 by the server)."""

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""The connection is gone, or in a state nobody knows: it is thrown away."""
FAULTS = (asyncpg.PostgresError, *LOST)
"""Everything asyncpg may raise that is not our own error tree."""


def explain(error: BaseException, where: str, doing: str) -> AstrariumError:
    """The error of our tree: `Unavailable` for the world's faults, `Bug` for a wrong statement or row."""
    said = f"{doing} PostgreSQL at {where} failed"
    if isinstance(error, asyncpg.InsufficientResourcesError):
        mend = "free disk space or memory of the database server, or allow more connections; work goes on by itself then"
        return Unavailable(f"{said}: {error}", code="resources", hint=mend)
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return Unavailable(f"{said}: the server is read-only", code="read_only", hint="name the primary server in --database-url")
    if isinstance(error, (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)):
        mend = "check user, password and database name in --database-url; `createdb` makes the database"
        return Unavailable(f"{said}: {error}", code="login", hint=mend)
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        mend = "grant this user the right to create and write tables in the database"
        return Unavailable(f"{said}: {error}", code="privilege", hint=mend)
    if isinstance(error, asyncpg.InterfaceError) and "argument" in str(error):
        return Bug(f"{said}: {error}")
    if isinstance(error, AGAIN):
        return Unavailable(f"{said}: too many transactions in each other's way", code="busy", hint="try again")
    if isinstance(error, (asyncpg.PostgresSystemError, asyncpg.ConfigFileError, *LOST)):
        reason = str(error) or "no answer in time"
        return Unavailable(f"{said}: {reason}", code="no_connection", hint="check that the server runs and is reachable")
    return Bug(f"{said}: {type(error).__name__}: {error}")
