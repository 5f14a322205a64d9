"""Words: frozen values that every layer shares. No I/O, no libraries, no decisions."""
