"""How this surface's own work is carried out: jobs that end with a command, and what the server watches while it is open."""
