"""A local NBD relay that follows the owner of one volume (`drsync attach`)."""
