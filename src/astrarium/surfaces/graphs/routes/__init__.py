"""Which HTTP words mean which order or question."""
