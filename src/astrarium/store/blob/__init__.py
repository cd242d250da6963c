"""Bytes kept once, by the SHA-256 of their content: artifacts and large outputs.

`port` what is asked of a place for blobs · `folder` and `bucket` two such places · `artifact` what surfaces keep there, its limits,
and what goes again · `media` which kinds of content there are, and a look at the beginning of one.
"""
