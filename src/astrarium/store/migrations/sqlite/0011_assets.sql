-- Assets: which bytes belong to what. Columns stand in the order of `kernel/record/artifact.py`.

CREATE TABLE artifacts (
  workspace TEXT NOT NULL,
  owner_kind TEXT NOT NULL,
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  environment TEXT,
  id TEXT,
  name TEXT,
  content_type TEXT,
  size INTEGER,
  sha256 TEXT,
  blake3 TEXT,
  created_at INTEGER,
  metadata TEXT,
  PRIMARY KEY (workspace, owner_kind, owner, key)
) WITHOUT ROWID;
CREATE INDEX artifacts_id ON artifacts (workspace, id);
CREATE INDEX artifacts_sha256 ON artifacts (sha256);
