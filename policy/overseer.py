"""Who oversees a server and wants to know how it is: nobody, unless somebody is handed in."""


class Overseer:
    """Is told by a server how it is. May be told from one thread at a time, as often as one likes."""

    def ready(self) -> None:
        """From now on everybody who asks is served."""

    def alive(self) -> None:
        """Work gets done: said every few seconds for as long as it does."""

    def stopping(self) -> None:
        """It was told to end, and finishes what is in hand."""
