"""What a try may use beside processes: tools, models, artifacts, and what it tells who follows the run. What is allowed is judged here,
once, whoever calls: a node or a model in it."""
