"""What is found, and what a filter may be completed to, as clients know it."""

from __future__ import annotations

import msgspec


class FoundTask(msgspec.Struct):
    """`build_id` is the build of the task's newest event; `asset_data` the contents of the assets that were asked for, by name."""

    task_id: str
    environment_id: str
    task_namespace: str
    task_name: str
    task_data: msgspec.Raw
    version: str | None
    output_uri: str | None
    created_at: str
    build_id: str | None
    build_name: str | None
    status: str
    started_at: str | None
    completed_at: str | None
    error_message: str | None
    asset_count: int
    asset_data: dict[str, msgspec.Raw]


class FoundTasks(msgspec.Struct):
    """`next_cursor` leads to the page after this one at the same cost on every page; `ignored_conditions` are those of the filter that
    cannot be understood."""

    tasks: list[FoundTask]
    total: int
    page: int
    page_size: int
    available_columns: list[str]
    next_cursor: str | None
    ignored_conditions: list[str]


class SearchKey(msgspec.Struct):
    """`count` tells how many tasks have had it, 0 for columns every task has."""

    key: str
    type: str
    count: int


class SearchKeys(msgspec.Struct):
    keys: list[SearchKey]


class SearchValue(msgspec.Struct):
    value: str
    count: int


class SearchValues(msgspec.Struct):
    values: list[SearchValue]


class SearchColumns(msgspec.Struct):
    core: list[str]
    params: list[str]
    assets: list[str]
