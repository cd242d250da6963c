"""The one page of this surface: where a set-up link leads. A form, no script, nothing loaded."""

from __future__ import annotations

from html import escape

from starlette.responses import Response

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Astrarium</title>
<style>body{{font:1rem system-ui;max-width:24rem;margin:4rem auto;padding:0 1rem}}label,button{{display:block;margin-top:1rem}}
input{{font:inherit;width:100%;box-sizing:border-box;padding:.4rem}}button{{font:inherit;padding:.4rem 1rem}}</style></head>
<body><h1>The first admin</h1><form method="post" action="/api/v1/auth/setup">
<input type="hidden" name="token" value="{token}">
<label>Name<input name="username" value="admin" required maxlength="64" autocomplete="username"></label>
<label>Password, at least 8 characters
<input name="password" type="password" required minlength="8" autocomplete="new-password"></label>
<button>Make</button></form></body></html>
"""


def set_up_page(token: str) -> Response:
    return Response(PAGE.format(token=escape(token)), headers=HEADERS, media_type="text/html")
