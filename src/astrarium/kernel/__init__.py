"""The engine: a log of decisions, and the only place that writes.

What belongs here: everything that is the same for every kind of life, and nothing that knows one of them.

The story of one change:

1. Somebody (a route, a finished job, a timer) hands a `Command` to `Engine.submit`. It names a *stream*, which is one life.
2. The engine loads that life's state (hot in memory, or snapshot + tail of the log) and the facts the machine says it
   `needs`: states of other lives, slots, things.
3. The machine, a table of rows and pure functions, *decides*: it refuses (nothing happened), or gives events.
4. Each event is checked against the table, *folded* into the state (`evolve`), and answered (`react`): jobs to be done, jobs
   no longer needed, slots asked for or given back. `rows` says what readers are told.
5. Events, rows, jobs, slots and the receipt of the command join the batch that is filling. While one batch is being committed the
   next one fills: group commit. A commit locks the heads it depends on; a head that another server moved makes the batch
   be decided anew before anything is inserted.
6. After the commit: callers are answered, tails are woken, and jobs born here (claimed at birth, in the same transaction) start.
   A job's result is a command again.

Several servers may share a PostgreSQL store. A server is a *worker* with a lease; a job has an owner; an owner whose lease
ended is fenced (it can commit nothing more) and its jobs are taken over, each kind saying what a lost owner means.

`types` the nouns · `machine` the form of a life, and the registry · `engine` the write path · `filling` what joins the batch ·
`memory` what is at hand · `jobs` carrying out · `slots` limits, queues, locks · `tail` reading on · `record` entries and things ·
`audit` the second log · `clock` · `ports` the store.
"""
