-- Entries: versioned rows that people edit, of every kind (users, keys, webhooks). See `kernel/record/entry.py`.
-- Times are microseconds since 1970 UTC. A dropped entry keeps its row with `dropped_at`, without handle and verifier.

CREATE TABLE entries (
  workspace TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT,
  version INTEGER,
  body TEXT,
  handle TEXT,
  verifier TEXT,
  created_at INTEGER,
  created_by TEXT,
  updated_at INTEGER,
  updated_by TEXT,
  used_at INTEGER,
  dropped_at INTEGER,
  PRIMARY KEY (workspace, kind, id)
) WITHOUT ROWID;
CREATE INDEX entries_name ON entries (workspace, kind, name);
CREATE INDEX entries_handle ON entries (kind, handle);
