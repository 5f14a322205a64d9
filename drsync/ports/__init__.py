"""What the engines need from the world, written as promises."""
