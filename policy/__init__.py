"""WHO MAY SEND, AND WITH WHICH OPTIONS: accounts, logins, options, sender domains and keys, SASL, policy delegation."""
