"""What is checked after the schema: the document as a whole and what it needs installed (`whole`), each of its nodes (`node`), and the
queries in their configurations (`cypher`)."""
