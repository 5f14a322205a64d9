"""Data algorithms over buffers: batch codec, overlay arithmetic. No files, no sockets."""
