"""WHAT PEOPLE OPEN: click redirects, pixels, hosted images, dashboard. The room is kept; nothing lives in it yet."""
