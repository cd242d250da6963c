-- Lists of runs stay quick however many there are: each filter walks an index from its newest entry, and substrings are looked
-- for in the index alone. Runs under a run are in none of them; they are found by their parent or their root.

DROP INDEX runs_recent;
DROP INDEX runs_live;
CREATE INDEX runs_recent ON runs (workspace, surface, created_at) WHERE parent_run = '';
CREATE INDEX runs_of_name ON runs (workspace, surface, name, created_at) WHERE parent_run = '';
CREATE INDEX runs_of_outcome ON runs (workspace, surface, outcome, created_at, name) WHERE status = 'ended' AND parent_run = '';
CREATE INDEX runs_ids ON runs (alias) WHERE parent_run = '';
CREATE INDEX runs_live ON runs (workspace, surface, created_at) WHERE status <> 'ended';
CREATE INDEX runs_of_root ON runs (root) WHERE parent_run <> '';
