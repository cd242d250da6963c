"""What readers of graphs are told: selects, and the shapes of answers."""
