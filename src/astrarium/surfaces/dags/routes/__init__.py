"""The paths of `/api/v2`, one file a noun: which words mean which order or view. Nothing here decides anything about a DAG
or a run."""
