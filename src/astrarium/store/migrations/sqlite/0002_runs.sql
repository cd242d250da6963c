-- Runs and their steps, as readers see them (columns in the order of `runs/row.py`).

CREATE TABLE runs (
  id TEXT NOT NULL PRIMARY KEY,
  workspace TEXT NOT NULL,
  environment TEXT NOT NULL,
  surface TEXT NOT NULL,
  name TEXT NOT NULL,
  alias TEXT NOT NULL,
  graph TEXT NOT NULL,
  status TEXT NOT NULL,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL,
  waiting TEXT NOT NULL,
  round INTEGER NOT NULL,
  parent_run TEXT NOT NULL,
  parent_round INTEGER NOT NULL,
  parent_step INTEGER NOT NULL,
  parent_index INTEGER NOT NULL,
  root TEXT NOT NULL,
  depth INTEGER NOT NULL,
  params TEXT NOT NULL,
  resolved TEXT NOT NULL,
  outputs TEXT NOT NULL,
  queue TEXT NOT NULL,
  trigger TEXT NOT NULL,
  rerun_of TEXT NOT NULL,
  forked_from TEXT NOT NULL,
  labels TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  queued_at INTEGER NOT NULL,
  began_at INTEGER NOT NULL,
  ended_at INTEGER NOT NULL
);
CREATE INDEX runs_alias ON runs (workspace, surface, name, alias);
CREATE INDEX runs_recent ON runs (workspace, surface, created_at);
CREATE INDEX runs_of_parent ON runs (parent_run, parent_step) WHERE parent_run <> '';
CREATE INDEX runs_live ON runs (workspace, status) WHERE status <> 'ended';

-- One row per step and round; the newest round of a step is its present one.
CREATE TABLE steps (
  run TEXT NOT NULL,
  round INTEGER NOT NULL,
  no INTEGER NOT NULL,
  workspace TEXT NOT NULL,
  node TEXT NOT NULL,
  kind TEXT NOT NULL,
  status TEXT NOT NULL,
  outcome TEXT NOT NULL,
  tolerated INTEGER NOT NULL,
  partial INTEGER NOT NULL,
  inherited INTEGER NOT NULL,
  tries INTEGER NOT NULL,
  retries INTEGER NOT NULL,
  passes INTEGER NOT NULL,
  worker TEXT NOT NULL,
  exit_code INTEGER,
  error TEXT NOT NULL,
  output TEXT,
  ask TEXT NOT NULL,
  answers TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at INTEGER NOT NULL,
  PRIMARY KEY (run, round, no)
) WITHOUT ROWID;

-- Which worker carries out steps of which life: where to look after a crash.
CREATE TABLE leases (
  stream TEXT NOT NULL,
  worker TEXT NOT NULL,
  workspace TEXT NOT NULL,
  environment TEXT NOT NULL,
  PRIMARY KEY (stream, worker)
) WITHOUT ROWID;
CREATE INDEX leases_of_worker ON leases (worker);
