"""Volume images: sparse files."""
