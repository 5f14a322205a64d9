"""The NBD server and client."""
