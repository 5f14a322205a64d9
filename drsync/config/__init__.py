"""What was written in the file: schema, every mistake at once, small frozen options."""
