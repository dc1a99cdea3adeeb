"""Which keys sign a message, by the address in its From field, and what the conditions of keys may be.

All that match sign: the key of the sender domain, those whose condition the address meets, and those for all mail; a fallback
only where neither of the first two kinds does. A message that none is for is sent unsigned.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable
from functools import partial

from policy.domains import Rule, SenderDomain, SigningKey, normalise_domain
from policy.expression import LONGEST_TEXT, compile_expression, matches
from policy.organisation import organisational_domain

CONDITIONAL = (Rule.EXACT, Rule.PATTERN, Rule.EXPRESSION)


class KeyChoice:
    """The keys of one account, ready to be chosen from for each message.

    `domains` are the sender domains of the account; `owner` tells the account that a name belongs to, "" for none. With
    `only_published` no key signs that the DNS has not been seen to publish. A key of a name that belongs to another account
    by now does not sign.
    """

    def __init__(
        self,
        account: str,
        keys: Iterable[SigningKey],
        domains: Iterable[SenderDomain],
        *,
        owner: Callable[[str], str],
        only_published: bool = False,
    ) -> None:
        self._account = account
        self._owner = owner
        self._domains = {domain.name: domain for domain in domains}
        self._own: dict[str, list[SigningKey]] = {}
        self._by_rule: dict[Rule, list[SigningKey]] = {rule: [] for rule in Rule}
        for key in keys:
            ready = key.active is not None and key.retired is None and not (only_published and key.seen is None)
            if ready and self._may_use(key.domain):
                self._by_rule[key.rule].append(key)
        for key in self._by_rule[Rule.DOMAIN]:
            if key.domain in self._domains:
                self._own.setdefault(key.domain, []).append(key)
        self._matching = [(key, condition_of(key)) for rule in CONDITIONAL for key in self._by_rule[rule]]
        self._organised: dict[str, list[str]] = {}
        for name in self._own:
            if not self._domains[name].strict:
                self._organised.setdefault(organisational_domain(name), []).append(name)

    def keys_for(self, address: str, now: int) -> tuple[SigningKey, ...]:
        """The keys that sign a message whose author is `address`, "" where it names none; one per domain and selector.

        The domain of `address` is in lower case, in its ASCII form.
        """
        domain = address.rpartition("@")[2]
        own = self._of_domain(domain, now) if domain else []
        matching = [key for key, meets in self._matching if domain and _is_in_time(key, now) and meets(address)]
        found = [*own, *matching, *(key for key in self._by_rule[Rule.ALWAYS] if _is_in_time(key, now))]
        if not own and not matching:
            found += [key for key in self._by_rule[Rule.FALLBACK] if _is_in_time(key, now)]
        return tuple({(key.domain, key.selector): key for key in found}.values())

    def _may_use(self, name: str) -> bool:
        return self._owner(name) in ("", self._account)

    def _of_domain(self, domain: str, now: int) -> list[SigningKey]:
        """Those of the identical domain, else of the nearest one that is aligned with it (RFC 7489 3.1.1)."""
        found = [key for key in self._own.get(domain, ()) if _is_in_time(key, now)]
        for name in () if found else self._aligned(domain):
            if found := [key for key in self._own[name] if _is_in_time(key, now)]:
                break
        return found

    def _aligned(self, domain: str) -> list[str]:
        """Other domains of the account with keys that meet the DMARC record of `domain`, the nearest first."""
        if not self._organised:
            return []
        organisation = organisational_domain(domain)
        # The record of a domain is its own, else that of the organisation (RFC 7489 6.6.3).
        record = self._domains.get(domain) or self._domains.get(organisation)
        if (record is not None and record.strict) or not self._may_use(domain):
            return []
        return sorted((name for name in self._organised.get(organisation, ()) if name != domain), key=partial(_distance, domain))


def _distance(domain: str, name: str) -> tuple[int, int, str]:
    """How far `name` is from `domain` in the tree of names, for sorting: first how far up they meet, then how far down it is."""
    ours, theirs = domain.split(".")[::-1], name.split(".")[::-1]
    common = 0
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            break
        common += 1
    return len(ours) - common, len(theirs) - common, name


def _is_in_time(key: SigningKey, now: int) -> bool:
    return (key.start is None or key.start <= now) and (key.end is None or now < key.end)


def condition_of(key: SigningKey) -> Callable[[str], bool]:
    """Whether an address meets the condition of a key: itself where an `@` is in the condition, else its domain.

    Upper and lower case are the same. Raises InvalidExpression.
    """
    meets = _test(key.rule, key.condition)
    if "@" in key.condition:
        return lambda address: meets(address.lower())
    return lambda address: meets(address.rpartition("@")[2].lower())


def _test(rule: Rule, condition: str) -> Callable[[str], bool]:
    if rule is Rule.EXACT:
        return condition.lower().__eq__
    if rule is Rule.PATTERN:
        return partial(matches, re.compile(fnmatch.translate(condition.lower())))
    return partial(matches, compile_expression(condition))


def read_rule(text: str) -> tuple[Rule, str]:
    """The rule and the condition that a user wrote as RULE or RULE:CONDITION. Raises ValueError with a sentence for the user."""
    word, colon, condition = text.strip().partition(":")
    try:
        rule = Rule(word.strip().lower())
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no rule; it takes domain, always, fallback, exact:TEXT, pattern:TEXT or expression:TEXT"
        ) from error
    if rule not in CONDITIONAL:
        if colon:
            raise ValueError(f"the rule {rule.value} has no condition; leave {condition!r} away")
        return rule, ""
    return rule, _condition(rule, condition.strip())


def _condition(rule: Rule, text: str) -> str:
    if not text:
        raise ValueError(f"the rule {rule.value} needs a condition: {rule.value}:TEXT, matched to the author's address or domain")
    if rule is Rule.EXPRESSION:
        compile_expression(text)
        return text
    local, at, domain = text.rpartition("@")
    if len(text) > LONGEST_TEXT or any(character.isspace() for character in domain):
        raise ValueError(f"{text!r} is no address or domain, nor a pattern of one")
    if rule is Rule.EXACT:
        return f"{local}{at}{normalise_domain(domain)}"
    if not domain.isascii():
        raise ValueError(f"{text!r} matches no domain: they have their ASCII form here (xn--...)")
    return text
