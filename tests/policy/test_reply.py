"""The replies an SMTP client reads."""

import re

import pytest

from policy import reply
from policy.reply import Refused, Reply, malformed, no_permission

NAMED = [value for value in vars(reply).values() if isinstance(value, Reply)]
ALL = [*NAMED, no_permission("postmaster@example.com"), malformed("The header is malformed")]


@pytest.mark.parametrize("answer", ALL, ids=str)
def test_a_reply_is_one_line_of_ascii_whose_classes_agree(answer: Reply) -> None:
    assert re.fullmatch(r"[45]\d\d [45]\.\d{1,3}\.\d{1,3} [ -~]+", str(answer))
    assert str(answer)[0] == answer.enhanced[0]  # RFC 3463 2: the class agrees with the reply code
    assert len(str(answer)) <= 510  # RFC 5321 4.5.3.1.5


def test_there_are_named_replies() -> None:
    assert len(NAMED) >= 4


def test_the_permission_text_is_verbatim() -> None:
    assert str(no_permission("pm@example.com")) == ("550 5.7.1 You do not have permission to send email; contact pm@example.com")


def test_a_refusal_carries_its_reply() -> None:
    answer = malformed("no")
    with pytest.raises(Refused, match=r"550 5\.6\.0 no") as caught:
        raise Refused(answer)
    assert caught.value.reply is answer
