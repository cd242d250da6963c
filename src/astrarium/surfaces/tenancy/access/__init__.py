"""Ways in beside keys and passwords: tokens of our own and of an OIDC provider, the browser's sign-in, tickets, the first admin."""
