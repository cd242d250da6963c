"""What runs outside of a server and uses one: the session that calls its API, and what people write tasks and builds with.

Only `config`, `errors` and `spec` lie below: the SDK is imported into other people's programs.
"""
