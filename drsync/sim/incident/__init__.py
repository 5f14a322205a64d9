"""Real incidents asked "why" afterwards: what was recorded in the field goes through the rules once more."""
