"""The journal and superblock on real files."""
