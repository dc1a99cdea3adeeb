"""Mail as bytes: fields and body kept as they came, parts as spans, changes as splices."""
