"""Which HTTP words of `/api/v2` mean which order or question."""
