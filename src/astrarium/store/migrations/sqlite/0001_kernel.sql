-- The kernel's tables: the log, its heads, owed work, and what the engine keeps beside them.
-- Times are microseconds since 1970 UTC. Columns stand in the order of `kernel/ports.py`.

-- The log. An ordinary rowid table: it is only ever appended to, and large bodies do not bloat an index (a WITHOUT ROWID table
-- keyed by position took twice the space for bodies of 1.5 kB, and was no faster for small ones).
CREATE TABLE events (
  workspace TEXT NOT NULL,
  position INTEGER NOT NULL,
  stream TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  type TEXT NOT NULL,
  v INTEGER NOT NULL,
  actor TEXT NOT NULL,
  body TEXT NOT NULL
);
CREATE UNIQUE INDEX events_position ON events (workspace, position);
CREATE UNIQUE INDEX events_stream ON events (stream, seq);

-- How far each stream is (also streams without events: slots, keys), and each workspace's log.
CREATE TABLE heads (stream TEXT NOT NULL PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE log_heads (workspace TEXT NOT NULL PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE jobs (
  id TEXT NOT NULL PRIMARY KEY,
  workspace TEXT NOT NULL,
  environment TEXT NOT NULL,
  kind TEXT NOT NULL,
  stream TEXT NOT NULL,
  not_before INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  owner TEXT NOT NULL,
  body TEXT
);
CREATE INDEX jobs_owner ON jobs (owner, not_before);

CREATE TABLE slots (
  workspace TEXT NOT NULL,
  name TEXT NOT NULL,
  holder TEXT NOT NULL,
  state TEXT,
  priority INTEGER,
  at INTEGER,
  until INTEGER,
  fence INTEGER,
  number INTEGER,
  PRIMARY KEY (workspace, name, holder)
) WITHOUT ROWID;
CREATE INDEX slots_holder ON slots (holder);

CREATE TABLE receipts (
  workspace TEXT NOT NULL,
  key TEXT NOT NULL,
  fingerprint TEXT,
  stream TEXT,
  seq INTEGER,
  at INTEGER,
  PRIMARY KEY (workspace, key)
) WITHOUT ROWID;
CREATE INDEX receipts_at ON receipts (at);

CREATE TABLE snapshots (
  stream TEXT NOT NULL PRIMARY KEY,
  seq INTEGER,
  workspace TEXT,
  environment TEXT,
  data BLOB
);

CREATE TABLE things (hash TEXT NOT NULL PRIMARY KEY, kind TEXT, at INTEGER, data BLOB);

CREATE TABLE workers (
  id TEXT NOT NULL PRIMARY KEY,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  boot_id TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  lease_until INTEGER NOT NULL,
  ended INTEGER NOT NULL
);

CREATE TABLE audit (
  workspace TEXT NOT NULL,
  number INTEGER NOT NULL,
  at INTEGER,
  actor TEXT,
  act TEXT,
  subject TEXT,
  detail TEXT,
  previous TEXT,
  hash TEXT,
  PRIMARY KEY (workspace, number)
);
