"""Protocols as functions of bytes: what arrives becomes values, values become what is sent. No socket is opened here."""
