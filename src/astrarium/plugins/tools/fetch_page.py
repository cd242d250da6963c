"""`std.fetch_page`: a page of the web as text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

from ...runs.ports import ToolSpec, TryContext
from .web import fetch

_HIDDEN = ("script", "style", "noscript", "template", "svg", "head")
_BLOCKS = ("p", "br", "div", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "table", "pre")


class Reader(HTMLParser):
    """What a person would read of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self.parts: list[str] = []
        self._hidden = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._hidden += tag in _HIDDEN
        self._in_title = self._in_title or tag == "title"
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in _HIDDEN and self._hidden > 0
        self._in_title = self._in_title and tag != "title"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._hidden:
            self.parts.append(data)

    def text(self) -> str:
        lines = (re.sub(r"\s+", " ", line).strip() for line in "".join(self.parts).split("\n"))
        return "\n".join(line for line in lines if line)


class FetchPage:
    spec = ToolSpec(
        "fetch_page",
        "std",
        description="Reads a page of the web and gives its title and its text.",
        input_schema={
            "type": "object",
            "properties": {"url": {"type": "string"}, "timeout_s": {"type": "number", "exclusiveMinimum": 0, "default": 30}},
            "required": ["url"],
            "additionalProperties": False,
        },
        output_schema={"type": "object", "properties": {"title": {"type": "string"}, "text": {"type": "string"}}},
        side_effects="read",
        permissions=("tools:std:http",),
        tags=("web",),
    )

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Any:
        page = await fetch(ctx, "GET", args["url"], headers={}, body="", timeout_s=args.get("timeout_s", 30))
        if "html" not in page.headers.get("content-type", ""):
            return {"url": page.url, "status": page.status, "title": "", "text": page.text}
        reader = Reader()
        reader.feed(page.text)
        reader.close()
        return {"url": page.url, "status": page.status, "title": reader.title.strip(), "text": reader.text()}


TOOL = FetchPage()
