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
  round BIGINT NOT NULL,
  parent_run TEXT NOT NULL,
  parent_round BIGINT NOT NULL,
  parent_step BIGINT NOT NULL,
  parent_index BIGINT NOT NULL,
  root TEXT NOT NULL,
  depth BIGINT NOT NULL,
  params TEXT NOT NULL,
  resolved TEXT NOT NULL,
  outputs TEXT NOT NULL,
  queue TEXT NOT NULL,
  trigger TEXT NOT NULL,
  rerun_of TEXT NOT NULL,
  forked_from TEXT NOT NULL,
  labels TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  queued_at BIGINT NOT NULL,
  began_at BIGINT NOT NULL,
  ended_at BIGINT NOT NULL
);
CREATE INDEX runs_alias ON runs (workspace, surface, name, alias);
CREATE INDEX runs_recent ON runs (workspace, surface, created_at);
CREATE INDEX runs_of_parent ON runs (parent_run, parent_step) WHERE parent_run <> '';
CREATE INDEX runs_live ON runs (workspace, status) WHERE status <> 'ended';

-- One row per step and round; the newest round of a step is its present one.
CREATE TABLE steps (
  run TEXT NOT NULL,
  round BIGINT NOT NULL,
  no BIGINT NOT NULL,
  workspace TEXT NOT NULL,
  node TEXT NOT NULL,
  kind TEXT NOT NULL,
  status TEXT NOT NULL,
  outcome TEXT NOT NULL,
  tolerated BIGINT NOT NULL,
  partial BIGINT NOT NULL,
  inherited BIGINT NOT NULL,
  tries BIGINT NOT NULL,
  retries BIGINT NOT NULL,
  passes BIGINT NOT NULL,
  worker TEXT NOT NULL,
  exit_code BIGINT,
  error TEXT NOT NULL,
  output TEXT,
  ask TEXT NOT NULL,
  answers TEXT NOT NULL,
  started_at BIGINT NOT NULL,
  ended_at BIGINT NOT NULL,
  PRIMARY KEY (run, round, no)
);

-- Which worker carries out steps of which life: where to look after a crash.
CREATE TABLE leases (
  stream TEXT NOT NULL,
  worker TEXT NOT NULL,
  workspace TEXT NOT NULL,
  environment TEXT NOT NULL,
  PRIMARY KEY (stream, worker)
);
CREATE INDEX leases_of_worker ON leases (worker);
