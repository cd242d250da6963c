"""The DAG surface: YAML files of the Dagu dialect over `/api/v2`, as Dagu 1.30's clients know it.

Here belong the files of the DAG folder, their definitions for child steps, the shapes and words of that API. How a text
compiles is `spec`'s, how a run lives is `runs`'.
"""
