"""`AskAhead`: a judge that is asked in the background while other passes run."""

from collections.abc import Sequence
from concurrent.futures import Future
from threading import Lock, Thread

from umed.judges.base import Judge, JudgeItem, Verdict


class AskAhead:
    """Gives the verdicts of a judge, which may begin before they are needed; they are the same.

    The thread is a daemon: it keeps no process from ending, and whatever the judge has stored by then stays.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._waits: bool = getattr(judge, "waits", False)  # judges of others may lack it
        self._one_at_a_time = Lock()
        self._begun: tuple[list[JudgeItem], Future[list[Verdict]]] | None = None

    def begin(self, items: Sequence[JudgeItem]) -> None:
        """Ask for these verdicts in the background, where the judge waits for others; returns at once."""
        items = list(items)
        if not self._waits or (self._begun is not None and self._begun[0] == items):
            return
        future: Future[list[Verdict]] = Future()
        self._begun = items, future
        Thread(target=self._run, args=(items, future), name="judge", daemon=True).start()

    def __call__(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """The verdicts, of what was begun if it was about the same items; raises what the judge raises."""
        items = list(items)
        begun, self._begun = self._begun, None
        if begun is not None and begun[0] == items:
            return begun[1].result()
        return self._ask(items)

    def _ask(self, items: list[JudgeItem]) -> list[Verdict]:
        with self._one_at_a_time:
            return self._judge(items)

    def _run(self, items: list[JudgeItem], future: Future[list[Verdict]]) -> None:
        try:
            verdicts = self._ask(items)
        except BaseException as error:  # for whoever asks for the verdicts
            future.set_exception(error)
        else:
            future.set_result(verdicts)
