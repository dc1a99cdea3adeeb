"""THE COMMAND: settings, wiring, `smtpeter up`; the only room that builds adapters and hands them out."""
