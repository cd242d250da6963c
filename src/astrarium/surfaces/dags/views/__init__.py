"""What readers of the DAG surface are told: rows and graphs in, the shapes of Dagu's `/api/v2` out.

Here belong selects, status words and text forms. Nothing here changes anything.
"""
