"""Programs that runbooks let an agent run, and what they leave on its machine: named, limited, found."""
