"""What a resync session puts aside, on files; and how it becomes the copy's journal."""
