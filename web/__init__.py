"""WHAT PEOPLE OPEN: click redirects, pixels and hosted images; the dashboard comes later."""
