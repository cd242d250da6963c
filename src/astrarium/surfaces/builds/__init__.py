"""The build registry: builds and their tasks, driven by a client outside (Stardag's `/api/v1`).

A *build* is somebody's wish to have some tasks done; a *task* is a piece of work named by the hash of what it is, and lives once per
environment, whichever builds want it; a *lock* keeps two builds from doing one task at once. The driver is the client: it registers
tasks and reports what becomes of them, and a silent one is never failed by us.

Layout: `machines/` (build, task, lock: what may happen; `row`: the tables readers see) · `desk` (what the routes order, in one
transaction each; `field`: rules of what clients send; `work/`: how it gets there) · `views/` (selects and answers) · `search/` (finding
tasks by what they are) · `routes/` · `wire` · `problem` (how errors look) · `room` (registers, opens).

Builds that are driven by plans (Stardag's `/api/v2`) are the same lives: `machines/plan/` and `plan/` have what they add.

Streams: `build:<uuid>` · `task:<environment>/<task id>` · `lock:<environment>/<name>` · `plan:<uuid>` · `wake:<build>` ·
`deployments:<environment>/<kind>/<name>` · `limit:<environment>/<key>`. A task's or lock's stream follows from its name, so nothing is
looked up to find it. Things: `task` (`task_data`) and `asset` (an asset's content), by SHA-256 of their JSON. Slots:
`limit:<environment>/<key>` has the live claims of a limit;
`locks:<environment>` counts the locks that are held, up to the environment's `max_concurrent_locks`.
"""
