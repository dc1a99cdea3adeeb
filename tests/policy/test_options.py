"""The switches: their words, their header fields, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.options import BY_HEADER, BY_NAME, OPTIONS, Images, InvalidOption, Option, Options, settled

SWITCHES = [option for option in OPTIONS if option.name != "images"]
ANY = st.builds(
    Options,
    images=st.sampled_from(Images),
    **{option.name: st.booleans() for option in SWITCHES},
)


def test_everything_is_off_by_default() -> None:
    assert Options().properties == ()
    assert Options().images is Images.DEFAULT
    assert Options().as_words() == {
        "inlinecss": "false",
        "trackclicks": "false",
        "trackopens": "false",
        "trackbounces": "false",
        "preventscam": "false",
        "images": "default",
    }


def test_the_header_fields() -> None:
    assert list(BY_HEADER) == [
        "x-smtpeter-inlinecss",
        "x-smtpeter-trackclicks",
        "x-smtpeter-trackopens",
        "x-smtpeter-trackbounces",
        "x-smtpeter-preventscam",
        "x-smtpeter-images",
    ]


@pytest.mark.parametrize("option", SWITCHES, ids=lambda option: option.name)
@pytest.mark.parametrize(
    ("words", "expected"),
    [(("true", "1", "yes", "on", "TRUE", " Yes\t"), True), (("false", "0", "no", "off", "Off", " NO "), False)],
)
def test_words_of_a_switch(option: Option, words: tuple[str, ...], expected: bool) -> None:
    assert [option.parse(word) for word in words] == [expected] * len(words)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
@pytest.mark.parametrize("word", ["", " ", "garbage", "2", "truefalse", "t", "true false", "ture", "hosted?"])
def test_other_words_are_refused_by_name(option: Option, word: str) -> None:
    with pytest.raises(InvalidOption, match=option.name):
        option.parse(word)


def test_words_of_images() -> None:
    images = BY_NAME["images"]
    assert images.parse("Hosted ") is Images.HOSTED
    assert images.parse("default") is Images.DEFAULT
    for word in ("true", "1", "off", "embedded"):
        with pytest.raises(InvalidOption, match="hosted or default"):
            images.parse(word)


def test_a_switch_takes_no_word_of_images() -> None:
    with pytest.raises(InvalidOption, match="true or false"):
        BY_NAME["inlinecss"].parse("hosted")


def test_an_unknown_option_is_named_with_what_there_is() -> None:
    with pytest.raises(InvalidOption, match=r"'inlincss'.*inlinecss, trackclicks"):
        Options().with_words({"inlincss": "true"})


def test_one_bad_word_changes_nothing() -> None:
    before = Options(trackopens=True)
    with pytest.raises(InvalidOption):
        before.with_words({"trackopens": "false", "images": "maybe"})
    assert before == Options(trackopens=True)


def test_properties_are_the_switches_that_are_on() -> None:
    options = Options(inlinecss=True, trackopens=True, images=Images.HOSTED)
    assert options.properties == ("inlinecss", "trackopens")


def test_every_effect_is_told() -> None:
    assert all(option.effect for option in OPTIONS)


@given(options=ANY)
def test_words_and_options_are_each_others_inverse(options: Options) -> None:
    assert Options().with_words(options.as_words()) == options


@given(options=ANY, changed=ANY, names=st.sets(st.sampled_from(sorted(BY_NAME))))
def test_only_what_is_named_changes(options: Options, changed: Options, names: set[str]) -> None:
    words = {name: word for name, word in changed.as_words().items() if name in names}
    after = options.with_words(words)
    for name in BY_NAME:
        assert getattr(after, name) == getattr(changed if name in names else options, name)


@pytest.mark.parametrize("before", [False, True], ids=["free", "forced"])
@pytest.mark.parametrize(
    ("word", "value", "forced"),
    [
        ("forced-on", True, True),
        ("forced-off", False, True),
        (" Forced-YES ", True, True),
        ("forced-0", False, True),
        ("on", True, False),
        ("off", False, False),
    ],
)
def test_an_option_is_kept_or_given_back_by_its_word(word: str, value: bool, forced: bool, before: bool) -> None:
    kept = frozenset({"trackclicks", "images"}) if before else frozenset()
    options, now = settled(Options(inlinecss=True), kept, {"trackclicks": word})
    assert options == Options(inlinecss=True, trackclicks=value)
    assert now == (kept - {"trackclicks"}) | ({"trackclicks"} if forced else set())


def test_images_is_kept_by_its_own_words() -> None:
    assert settled(Options(), frozenset(), {"images": "forced-hosted"}) == (Options(images=Images.HOSTED), {"images"})
    assert settled(Options(), frozenset({"images"}), {"images": "default"}) == (Options(), frozenset())


@pytest.mark.parametrize("word", ["forced", "forced-", "forced-maybe", "forced on", "forced-forced-on", "on-forced"])
def test_other_words_keep_nothing(word: str) -> None:
    with pytest.raises(InvalidOption, match="trackclicks cannot be"):
        settled(Options(), frozenset(), {"trackclicks": word})
    with pytest.raises(InvalidOption, match="there is no option"):
        settled(Options(), frozenset(), {"nosuch": "forced-on"})


@given(options=ANY, forced=st.frozensets(st.sampled_from(sorted(BY_NAME))))
def test_words_tell_what_is_kept(options: Options, forced: frozenset[str]) -> None:
    words = options.as_words(forced)
    assert {name for name, word in words.items() if word.startswith("forced-")} == forced
    assert settled(Options(), frozenset(), words) == (options, forced)
    assert settled(options, forced, {}) == (options, forced)
