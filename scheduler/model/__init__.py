"""Frozen values without clock or I/O: what exists, who asks, what is granted, what happened, what we want done."""
