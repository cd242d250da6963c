-- The kernel's tables: the log, its heads, owed work, and what the engine keeps beside them.
-- Times are microseconds since 1970 UTC. Columns stand in the order of `kernel/ports.py`.
-- COLLATE "C" on keys: compared as bytes, so faster, and ordered as on SQLite. A fillfactor below 100 leaves room on the page for
-- the next version of a row that changes often. json, not jsonb: kept and given back exactly as it was written.

CREATE TABLE events (
  workspace text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  stream text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  at bigint NOT NULL,
  type text NOT NULL,
  v bigint NOT NULL,
  actor text NOT NULL,
  body json NOT NULL,
  PRIMARY KEY (workspace, position)
);
CREATE UNIQUE INDEX events_stream ON events (stream, seq);

-- How far each stream is (also streams without events: slots, keys), and each workspace's log.
CREATE TABLE heads (stream text COLLATE "C" PRIMARY KEY, seq bigint NOT NULL) WITH (fillfactor = 60);
CREATE TABLE log_heads (workspace text COLLATE "C" PRIMARY KEY, position bigint NOT NULL) WITH (fillfactor = 20);

CREATE TABLE jobs (
  id text COLLATE "C" PRIMARY KEY,
  workspace text NOT NULL,
  environment text NOT NULL,
  kind text NOT NULL,
  stream text COLLATE "C" NOT NULL,
  not_before bigint NOT NULL,
  priority bigint NOT NULL,
  attempt bigint NOT NULL,
  owner text COLLATE "C" NOT NULL,
  body json
);
CREATE INDEX jobs_owner ON jobs (owner, not_before);

CREATE TABLE slots (
  workspace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  holder text COLLATE "C" NOT NULL,
  state text,
  priority bigint,
  at bigint,
  until bigint,
  fence bigint,
  number bigint,
  PRIMARY KEY (workspace, name, holder)
);
CREATE INDEX slots_holder ON slots (holder);

CREATE TABLE receipts (
  workspace text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  fingerprint text,
  stream text,
  seq bigint,
  at bigint,
  PRIMARY KEY (workspace, key)
);
CREATE INDEX receipts_at ON receipts (at);

CREATE TABLE snapshots (
  stream text COLLATE "C" PRIMARY KEY,
  seq bigint,
  workspace text,
  environment text,
  data bytea
);

CREATE TABLE things (hash text COLLATE "C" PRIMARY KEY, kind text, at bigint, data bytea);

CREATE TABLE workers (
  id text COLLATE "C" PRIMARY KEY,
  host text NOT NULL,
  pid bigint NOT NULL,
  boot_id text NOT NULL,
  started_at bigint NOT NULL,
  lease_until bigint NOT NULL,
  ended bigint NOT NULL
) WITH (fillfactor = 20);

CREATE TABLE audit (
  workspace text COLLATE "C" NOT NULL,
  number bigint NOT NULL,
  at bigint,
  actor text,
  act text,
  subject text,
  detail json,
  previous text,
  hash text,
  PRIMARY KEY (workspace, number)
);
