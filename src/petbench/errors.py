"""The one error a user is meant to read."""


class InputError(ValueError):
    """Bad input: one sentence that names the file or field and says how to mend it.

    Scripts print its message alone, without a traceback.
    """
