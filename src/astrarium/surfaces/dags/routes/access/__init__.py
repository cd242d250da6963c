"""Who may call, in the words of `/api/v2`: accounts and keys, and the webhooks that are open to strangers with a token."""
