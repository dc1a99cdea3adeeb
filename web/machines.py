"""Who is no person: prefetchers, link scanners, image proxies, libraries and crawlers, as far as they say so themselves.

A scanner that calls itself a browser is not found here: only its address gives it away, and lists of addresses grow old.
So a visit without the mark is no proof of a person, and one with it is never thrown away.
"""

import re
from functools import lru_cache

REMEMBERED = 2048  # user agents
LONGEST = 400  # characters of a user agent that are looked at

_EARLY = re.compile(r"prefetch|prerender|preview", re.IGNORECASE)

_SCANNERS = (
    "safelinks", "safe links", "barracuda", "proofpoint", "mimecast", "messagelabs", "symantec", "fireeye", "trellix",
    "trendmicro", "trend micro", "sophos", "forcepoint", "zscaler", "cloudmark", "ironport", "vadesecure", "bitdefender",
    "kaspersky", "virustotal", "urlscan", "checkpoint", "fortiguard", "webroot", "phish", "linkcheck", "link check",
)  # fmt: skip
_IMAGE_PROXIES = ("googleimageproxy", r"ggpht\.com", "yahoomailproxy", "imgproxy", "image ?proxy", "mailproxy")
_LIBRARIES = (
    "curl/", "libcurl", "wget", "python", "aiohttp", "httpx", "go-http-client", r"java/", "apache-httpclient", "httpclient/",
    "libwww-perl", "lwp::", r"^ruby", "php/", "guzzle", "node-fetch", "undici", "axios/", r"got \(", "scrapy", "restsharp",
    "winhttp", "powershell", "postman", "insomnia",
)  # fmt: skip
_CRAWLERS = (
    # A make of telephones is called Cubot.
    r"(?<!cu)bots?(?![a-z])", "crawl", "spider", "slurp", "facebookexternalhit", "whatsapp/", "skypeuripreview", "embedly",
    "linkpreview", "mediapartners", "archiver", "feedfetcher", "monitor", "uptime", "pingdom", "nagios", "check_http", "zgrab",
    "masscan", "nmap",
)  # fmt: skip
# Nobody sits in front of a browser without a window, whether it tests or looks at links for a mail gateway.
_DRIVEN = ("headless", "phantomjs", "puppeteer", "playwright", "selenium", "lighthouse")

_MACHINE = re.compile("|".join((*_SCANNERS, *_IMAGE_PROXIES, *_LIBRARIES, *_CRAWLERS, *_DRIVEN)), re.IGNORECASE)


def is_machine(user_agent: str, purpose: str = "") -> bool:
    """Whether a request was made by no person, or before a person asked for it.

    `purpose` is what Purpose, Sec-Purpose, X-Purpose and X-Moz say, together.
    """
    return bool(purpose and _EARLY.search(purpose)) or _calls_itself_one(user_agent[:LONGEST])


@lru_cache(maxsize=REMEMBERED)
def _calls_itself_one(user_agent: str) -> bool:
    # Apple's mail privacy protection fetches every picture, seen or not, and says no more than this.
    return user_agent.strip() in ("", "Mozilla/5.0") or _MACHINE.search(user_agent) is not None
