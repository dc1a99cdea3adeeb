"""Log lines are key=value pairs, one line for each decision; this keeps them so, whatever a client wrote."""

SHOWN = 200  # characters of client text in a log line


def shown(text: str, longest: int = SHOWN) -> str:
    """Text for the value of a key=value pair in a log line, cut to `longest` characters; empty text is "-".

    Whatever a client sent, what comes out can neither end the line nor look like another pair: other characters than
    printable ASCII are escaped, and a value with a blank or an equals sign is quoted.
    """
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else f"\\u{{{ord(c):x}}}" for c in text[:longest])
    return f'"{plain}"' if " " in plain or "=" in plain else plain or "-"
