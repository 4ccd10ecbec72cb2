"""The one exception that reaches a person as a sentence instead of a traceback."""


class UserError(Exception):
    """Something the person at the keyboard can mend; the message says how.

    The commands in ./scripts print it and exit with code 1.
    """
