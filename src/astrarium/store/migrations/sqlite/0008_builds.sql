-- Builds, tasks and locks as readers see them. Columns in the order of `surfaces/builds/machines/row.py`.
-- Times are microseconds since 1970 UTC. What is big is a thing, and stands here by its hash.

CREATE TABLE builds (
  id TEXT NOT NULL PRIMARY KEY,
  workspace TEXT NOT NULL,
  environment TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT,
  commit_hash TEXT,
  roots TEXT NOT NULL,
  user_id TEXT NOT NULL,
  status TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  completed_at INTEGER NOT NULL,
  error TEXT,
  triggered_by TEXT NOT NULL
);
CREATE INDEX builds_recent ON builds (environment, created_at, id);
CREATE INDEX builds_status ON builds (environment, status, created_at, id);

CREATE TABLE tasks (
  environment TEXT NOT NULL,
  task_id TEXT NOT NULL,
  workspace TEXT NOT NULL,
  id TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  version TEXT,
  output_uri TEXT,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (environment, task_id)
);
CREATE INDEX tasks_recent ON tasks (environment, created_at, task_id);
CREATE INDEX tasks_name ON tasks (environment, name, created_at, task_id);
CREATE INDEX tasks_namespace ON tasks (environment, namespace, created_at, task_id);

CREATE TABLE task_states (
  environment TEXT NOT NULL,
  task_id TEXT NOT NULL,
  status TEXT NOT NULL,
  status_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  completed_at INTEGER NOT NULL,
  error TEXT,
  build TEXT NOT NULL,
  waiting INTEGER NOT NULL,
  assets INTEGER NOT NULL,
  execution TEXT NOT NULL,
  claim_until INTEGER NOT NULL,
  claim_plan TEXT NOT NULL,
  last_build TEXT NOT NULL,
  current TEXT NOT NULL,
  preempted_at INTEGER NOT NULL,
  PRIMARY KEY (environment, task_id)
) WITHOUT ROWID;
CREATE INDEX task_states_build ON task_states (environment, last_build);
CREATE INDEX task_states_status ON task_states (environment, status, status_at, task_id);

CREATE TABLE build_tasks (build TEXT NOT NULL, task_id TEXT NOT NULL, PRIMARY KEY (build, task_id)) WITHOUT ROWID;

CREATE TABLE build_task_states (
  build TEXT NOT NULL,
  task_id TEXT NOT NULL,
  status TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (build, task_id)
) WITHOUT ROWID;

CREATE TABLE task_edges (
  environment TEXT NOT NULL,
  downstream TEXT NOT NULL,
  upstream TEXT NOT NULL,
  dynamic INTEGER NOT NULL,
  PRIMARY KEY (environment, downstream, upstream)
) WITHOUT ROWID;

CREATE TABLE build_events (
  build TEXT NOT NULL,
  at INTEGER NOT NULL,
  task_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  workspace TEXT NOT NULL,
  pk TEXT NOT NULL,
  type TEXT NOT NULL,
  error TEXT,
  metadata TEXT,
  plan TEXT NOT NULL,
  execution TEXT NOT NULL,
  applied INTEGER NOT NULL,
  PRIMARY KEY (build, at, task_id, seq)
) WITHOUT ROWID;

CREATE TABLE task_assets (
  environment TEXT NOT NULL,
  task_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  workspace TEXT NOT NULL,
  id TEXT NOT NULL,
  build TEXT NOT NULL,
  body TEXT NOT NULL,
  size INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (environment, task_id, kind, name)
) WITHOUT ROWID;

CREATE TABLE locks (
  environment TEXT NOT NULL,
  name TEXT NOT NULL,
  workspace TEXT NOT NULL,
  owner TEXT NOT NULL,
  acquired_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (environment, name)
) WITHOUT ROWID;
CREATE INDEX locks_held ON locks (environment, acquired_at) WHERE owner <> '';

CREATE TABLE build_drives (
  build TEXT NOT NULL PRIMARY KEY,
  environment TEXT NOT NULL,
  resumed INTEGER NOT NULL,
  metadata TEXT,
  reactive_app TEXT NOT NULL,
  reactive_kwargs TEXT
);
CREATE INDEX build_drives_reactive ON build_drives (environment, reactive_app) WHERE reactive_app <> '';

CREATE TABLE build_activity (
  build TEXT NOT NULL PRIMARY KEY,
  environment TEXT NOT NULL,
  at INTEGER NOT NULL
);
CREATE INDEX build_activity_recent ON build_activity (environment, at, build);

CREATE TABLE plans (
  id TEXT NOT NULL PRIMARY KEY,
  environment TEXT NOT NULL,
  build TEXT NOT NULL,
  deployment TEXT NOT NULL,
  settings TEXT NOT NULL,
  generation INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  activated_at INTEGER NOT NULL,
  sealed_at INTEGER NOT NULL,
  superseded_at INTEGER NOT NULL
);
CREATE INDEX plans_build ON plans (build, generation);

CREATE TABLE plan_members (
  plan TEXT NOT NULL,
  task_id TEXT NOT NULL,
  environment TEXT NOT NULL,
  hash TEXT NOT NULL,
  root INTEGER NOT NULL,
  admitted_by TEXT NOT NULL,
  at INTEGER NOT NULL,
  excluded_at INTEGER NOT NULL,
  excluded_reason TEXT NOT NULL,
  PRIMARY KEY (plan, task_id)
) WITHOUT ROWID;
CREATE INDEX plan_members_task ON plan_members (environment, task_id);

CREATE TABLE instances (
  environment TEXT NOT NULL,
  deployment TEXT NOT NULL,
  settings TEXT NOT NULL,
  hash TEXT NOT NULL,
  task_id TEXT NOT NULL,
  id TEXT NOT NULL,
  body TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expanded_at INTEGER NOT NULL,
  PRIMARY KEY (environment, deployment, settings, hash)
) WITHOUT ROWID;
CREATE INDEX instances_task ON instances (environment, task_id, created_at);

CREATE TABLE instance_edges (
  environment TEXT NOT NULL,
  deployment TEXT NOT NULL,
  settings TEXT NOT NULL,
  downstream TEXT NOT NULL,
  upstream TEXT NOT NULL,
  upstream_task TEXT NOT NULL,
  dynamic INTEGER NOT NULL,
  PRIMARY KEY (environment, deployment, settings, downstream, upstream)
) WITHOUT ROWID;

CREATE TABLE executions (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  task_id TEXT NOT NULL,
  build TEXT NOT NULL,
  plan TEXT NOT NULL,
  instance TEXT NOT NULL,
  executor TEXT,
  executor_ref TEXT,
  metadata TEXT,
  started_at INTEGER NOT NULL,
  released_at INTEGER NOT NULL,
  claim_outcome TEXT NOT NULL,
  ended_at INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  PRIMARY KEY (environment, id)
) WITHOUT ROWID;
CREATE INDEX executions_build ON executions (build, started_at);
CREATE INDEX executions_task ON executions (environment, task_id, started_at);

CREATE TABLE deployments (
  environment TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  app TEXT NOT NULL,
  code TEXT NOT NULL,
  image TEXT,
  modal_app TEXT,
  generation INTEGER NOT NULL,
  deployed_at INTEGER NOT NULL,
  activated_at INTEGER NOT NULL,
  PRIMARY KEY (environment, id)
) WITHOUT ROWID;
CREATE INDEX deployments_recent ON deployments (environment, deployed_at, id);
CREATE INDEX deployments_app ON deployments (environment, kind, app, generation);

CREATE TABLE build_settings (
  environment TEXT NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (environment, hash)
) WITHOUT ROWID;

CREATE TABLE limits (
  environment TEXT NOT NULL,
  key TEXT NOT NULL,
  most INTEGER NOT NULL,
  PRIMARY KEY (environment, key)
) WITHOUT ROWID;

CREATE TABLE build_wakes (
  build TEXT NOT NULL PRIMARY KEY,
  environment TEXT NOT NULL,
  flagged_at INTEGER NOT NULL,
  handed_at INTEGER NOT NULL,
  owner TEXT NOT NULL,
  lease_until INTEGER NOT NULL
);
CREATE INDEX build_wakes_flagged ON build_wakes (environment, flagged_at);

CREATE TABLE tick_summaries (
  build TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  summary TEXT NOT NULL,
  PRIMARY KEY (build, seq)
) WITHOUT ROWID;
