"""Where everything is kept.

What belongs here: the implementations of the kernel's `Store` port, one file a database and what only that database needs
(`sqlite*`, `postgres*`), the numbered SQL of both (`migrations`, run by `migration`), bytes kept by hash (`blob`) and the log
files of tries (`log`).

What does not: decisions, rules of any life, HTTP. A store commits a batch whole or not at all and hands rows back.
"""
