-- Entries: versioned rows that people edit, of every kind (users, keys, webhooks). See `kernel/record/entry.py`.
-- Times are microseconds since 1970 UTC. A dropped entry keeps its row with `dropped_at`, without handle and verifier.

CREATE TABLE entries (
  workspace text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  name text COLLATE "C",
  version bigint,
  body json,
  handle text COLLATE "C",
  verifier text,
  created_at bigint,
  created_by text,
  updated_at bigint,
  updated_by text,
  used_at bigint,
  dropped_at bigint,
  PRIMARY KEY (workspace, kind, id)
) WITH (fillfactor = 80);
CREATE INDEX entries_name ON entries (workspace, kind, name);
CREATE INDEX entries_handle ON entries (kind, handle);
