"""`std.http_request`: one HTTP request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...runs.ports import ToolSpec, TryContext
from .web import fetch


class HttpRequest:
    spec = ToolSpec(
        "http_request",
        "std",
        description="Makes an HTTP request and gives status, headers and body.",
        input_schema={
            "type": "object",
            "properties": {
                "url": {"type": "string"},
                "method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], "default": "GET"},
                "headers": {"type": "object", "additionalProperties": {"type": "string"}},
                "body": {"type": "string"},
                "timeout_s": {"type": "number", "exclusiveMinimum": 0, "default": 30},
            },
            "required": ["url"],
            "additionalProperties": False,
        },
        output_schema={"type": "object", "properties": {"status": {"type": "integer"}, "body": {"type": "string"}}},
        side_effects="external",
        permissions=("tools:std:http",),
        tags=("web",),
    )

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Any:
        page = await fetch(
            ctx, args.get("method", "GET"), args["url"],
            headers=args.get("headers", {}), body=args.get("body", ""), timeout_s=args.get("timeout_s", 30),
        )  # fmt: skip
        return {"status": page.status, "url": page.url, "headers": page.headers, "body": page.text, "cut": page.cut}


TOOL = HttpRequest()
