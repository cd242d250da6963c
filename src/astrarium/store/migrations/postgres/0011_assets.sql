-- Assets: which bytes belong to what. Columns stand in the order of `kernel/record/artifact.py`.

CREATE TABLE artifacts (
  workspace text COLLATE "C" NOT NULL,
  owner_kind text COLLATE "C" NOT NULL,
  owner text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  environment text,
  id text COLLATE "C",
  name text,
  content_type text,
  size bigint,
  sha256 text COLLATE "C",
  blake3 text,
  created_at bigint,
  metadata json,
  PRIMARY KEY (workspace, owner_kind, owner, key)
);
CREATE INDEX artifacts_id ON artifacts (workspace, id);
CREATE INDEX artifacts_sha256 ON artifacts (sha256);
