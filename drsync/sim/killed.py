"""The end of a simulated process, as seen by whatever it was doing."""


class Killed(BaseException):  # it is no error, and nothing may handle it as one
    """The process died inside this call. Nothing that it does from now on has an effect outside of it."""
