"""Evidence to pages: drill reports."""
