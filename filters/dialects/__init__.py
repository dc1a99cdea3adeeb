"""The switches other providers have in the header, read for the logins that ask for it."""
