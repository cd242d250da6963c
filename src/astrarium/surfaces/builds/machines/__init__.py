"""What may happen to builds, tasks and locks: pure lives."""
