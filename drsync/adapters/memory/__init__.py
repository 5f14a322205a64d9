"""Reference implementations and fakes of the ports; they remember and can be told to fail."""
