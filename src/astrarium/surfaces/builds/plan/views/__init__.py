"""What drivers of plans ask: selects and answers."""
