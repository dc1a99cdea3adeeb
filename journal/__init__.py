"""WHAT BECAME OF IT: messages, events, bounces, delivery results. So far the events only; they go to the log."""
