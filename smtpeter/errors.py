"""What a user can mend: one sentence that says what is wrong and what to do about it."""


class UserError(Exception):
    """Something the user can mend. The command prints the sentence and exits with 2; there is no traceback."""
