"""Workspaces and what they consist of: members, invites, environments with their API keys and target roots. All of it is entries."""
