-- Builds, tasks and locks as readers see them. Columns in the order of `surfaces/builds/machines/row.py`.
-- Times are microseconds since 1970 UTC. What is big is a thing, and stands here by its hash.

CREATE TABLE builds (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  workspace text COLLATE "C" NOT NULL,
  environment text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  description text,
  commit_hash text,
  roots json NOT NULL,
  user_id text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  started_at bigint NOT NULL,
  completed_at bigint NOT NULL,
  error text,
  triggered_by text COLLATE "C" NOT NULL
);
CREATE INDEX builds_recent ON builds (environment, created_at, id);
CREATE INDEX builds_status ON builds (environment, status, created_at, id);

CREATE TABLE tasks (
  environment text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  workspace text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  namespace text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  version text,
  output_uri text,
  body text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  PRIMARY KEY (environment, task_id)
);
CREATE INDEX tasks_recent ON tasks (environment, created_at, task_id);
CREATE INDEX tasks_name ON tasks (environment, name, created_at, task_id);
CREATE INDEX tasks_namespace ON tasks (environment, namespace, created_at, task_id);

CREATE TABLE task_states (
  environment text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL,
  status_at bigint NOT NULL,
  started_at bigint NOT NULL,
  completed_at bigint NOT NULL,
  error text,
  build text COLLATE "C" NOT NULL,
  waiting bigint NOT NULL,
  assets bigint NOT NULL,
  execution text COLLATE "C" NOT NULL,
  claim_until bigint NOT NULL,
  claim_plan text COLLATE "C" NOT NULL,
  last_build text COLLATE "C" NOT NULL,
  current text COLLATE "C" NOT NULL,
  preempted_at bigint NOT NULL,
  PRIMARY KEY (environment, task_id)
) WITH (fillfactor = 80);
CREATE INDEX task_states_build ON task_states (environment, last_build);
CREATE INDEX task_states_status ON task_states (environment, status, status_at, task_id);

CREATE TABLE build_tasks (build text COLLATE "C" NOT NULL, task_id text COLLATE "C" NOT NULL, PRIMARY KEY (build, task_id));

CREATE TABLE build_task_states (
  build text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  status text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (build, task_id)
);

CREATE TABLE task_edges (
  environment text COLLATE "C" NOT NULL,
  downstream text COLLATE "C" NOT NULL,
  upstream text COLLATE "C" NOT NULL,
  dynamic bigint NOT NULL,
  PRIMARY KEY (environment, downstream, upstream)
);

CREATE TABLE build_events (
  build text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  workspace text COLLATE "C" NOT NULL,
  pk text COLLATE "C" NOT NULL,
  type text COLLATE "C" NOT NULL,
  error text,
  metadata json,
  plan text COLLATE "C" NOT NULL,
  execution text COLLATE "C" NOT NULL,
  applied bigint NOT NULL,
  PRIMARY KEY (build, at, task_id, seq)
);

CREATE TABLE task_assets (
  environment text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  workspace text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  build text COLLATE "C" NOT NULL,
  body text COLLATE "C" NOT NULL,
  size bigint NOT NULL,
  content_type text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  PRIMARY KEY (environment, task_id, kind, name)
);

CREATE TABLE locks (
  environment text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  workspace text COLLATE "C" NOT NULL,
  owner text COLLATE "C" NOT NULL,
  acquired_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  version bigint NOT NULL,
  PRIMARY KEY (environment, name)
);
CREATE INDEX locks_held ON locks (environment, acquired_at) WHERE owner <> '';

CREATE TABLE build_drives (
  build text COLLATE "C" NOT NULL PRIMARY KEY,
  environment text COLLATE "C" NOT NULL,
  resumed bigint NOT NULL,
  metadata json,
  reactive_app text COLLATE "C" NOT NULL,
  reactive_kwargs json
);
CREATE INDEX build_drives_reactive ON build_drives (environment, reactive_app) WHERE reactive_app <> '';

CREATE TABLE build_activity (
  build text COLLATE "C" NOT NULL PRIMARY KEY,
  environment text COLLATE "C" NOT NULL,
  at bigint NOT NULL
);
CREATE INDEX build_activity_recent ON build_activity (environment, at, build);

CREATE TABLE plans (
  id text COLLATE "C" NOT NULL PRIMARY KEY,
  environment text COLLATE "C" NOT NULL,
  build text COLLATE "C" NOT NULL,
  deployment text COLLATE "C" NOT NULL,
  settings text COLLATE "C" NOT NULL,
  generation bigint NOT NULL,
  created_at bigint NOT NULL,
  activated_at bigint NOT NULL,
  sealed_at bigint NOT NULL,
  superseded_at bigint NOT NULL
);
CREATE INDEX plans_build ON plans (build, generation);

CREATE TABLE plan_members (
  plan text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  environment text COLLATE "C" NOT NULL,
  hash text COLLATE "C" NOT NULL,
  root bigint NOT NULL,
  admitted_by text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  excluded_at bigint NOT NULL,
  excluded_reason text COLLATE "C" NOT NULL,
  PRIMARY KEY (plan, task_id)
);
CREATE INDEX plan_members_task ON plan_members (environment, task_id);

CREATE TABLE instances (
  environment text COLLATE "C" NOT NULL,
  deployment text COLLATE "C" NOT NULL,
  settings text COLLATE "C" NOT NULL,
  hash text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  body text COLLATE "C" NOT NULL,
  created_at bigint NOT NULL,
  expanded_at bigint NOT NULL,
  PRIMARY KEY (environment, deployment, settings, hash)
);
CREATE INDEX instances_task ON instances (environment, task_id, created_at);

CREATE TABLE instance_edges (
  environment text COLLATE "C" NOT NULL,
  deployment text COLLATE "C" NOT NULL,
  settings text COLLATE "C" NOT NULL,
  downstream text COLLATE "C" NOT NULL,
  upstream text COLLATE "C" NOT NULL,
  upstream_task text COLLATE "C" NOT NULL,
  dynamic bigint NOT NULL,
  PRIMARY KEY (environment, deployment, settings, downstream, upstream)
);

CREATE TABLE executions (
  environment text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  task_id text COLLATE "C" NOT NULL,
  build text COLLATE "C" NOT NULL,
  plan text COLLATE "C" NOT NULL,
  instance text COLLATE "C" NOT NULL,
  executor text,
  executor_ref text,
  metadata json,
  started_at bigint NOT NULL,
  released_at bigint NOT NULL,
  claim_outcome text COLLATE "C" NOT NULL,
  ended_at bigint NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  PRIMARY KEY (environment, id)
);
CREATE INDEX executions_build ON executions (build, started_at);
CREATE INDEX executions_task ON executions (environment, task_id, started_at);

CREATE TABLE deployments (
  environment text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  kind text COLLATE "C" NOT NULL,
  app text COLLATE "C" NOT NULL,
  code text COLLATE "C" NOT NULL,
  image text,
  modal_app text,
  generation bigint NOT NULL,
  deployed_at bigint NOT NULL,
  activated_at bigint NOT NULL,
  PRIMARY KEY (environment, id)
);
CREATE INDEX deployments_recent ON deployments (environment, deployed_at, id);
CREATE INDEX deployments_app ON deployments (environment, kind, app, generation);

CREATE TABLE build_settings (
  environment text COLLATE "C" NOT NULL,
  hash text COLLATE "C" NOT NULL,
  body json NOT NULL,
  PRIMARY KEY (environment, hash)
);

CREATE TABLE limits (
  environment text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  most bigint NOT NULL,
  PRIMARY KEY (environment, key)
);

CREATE TABLE build_wakes (
  build text COLLATE "C" NOT NULL PRIMARY KEY,
  environment text COLLATE "C" NOT NULL,
  flagged_at bigint NOT NULL,
  handed_at bigint NOT NULL,
  owner text COLLATE "C" NOT NULL,
  lease_until bigint NOT NULL
);
CREATE INDEX build_wakes_flagged ON build_wakes (environment, flagged_at);

CREATE TABLE tick_summaries (
  build text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  at bigint NOT NULL,
  outcome text COLLATE "C" NOT NULL,
  summary json NOT NULL,
  PRIMARY KEY (build, seq)
);
