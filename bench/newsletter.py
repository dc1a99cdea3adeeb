"""Sample newsletters of any size, the same on every run: markup as mail designers' tools emit it, text from a list.

The look is that of compiled MJML: a style block with resets, classes and media queries, nested presentation tables,
most declarations already inline, conditional comments for Outlook around the columns; an element per 140 to 165 bytes.
"""

from base64 import b64encode
from quopri import encodestring
from random import Random

WORD_LIST = (
    "garden harbour lantern paper window morning orchard river saddle timber copper meadow signal basket "
    "village engine market ladder pepper anchor bridge candle dinner evening feather glacier hammer island "
    "journey kettle lemon mirror needle oven pencil quarter rocket silver ticket umbrella valley winter "
    "yellow zebra bread clock dance earth field grain house ivory "
)
WORDS = WORD_LIST.split()

SHORT_SHEET = """body { margin: 0; padding: 0; background-color: #f4f4f7; }
td { font-family: Helvetica, Arial, sans-serif; }
p { display: block; margin: 13px 0; }
.button { background-color: #22863a; color: #ffffff; }
@media only screen and (max-width: 480px) { .column { width: 100% !important; } }
"""

LONG_SHEET = (
    """#outlook a { padding: 0; }
body { margin: 0; padding: 0; -webkit-text-size-adjust: 100%; -ms-text-size-adjust: 100%; }
table, td { border-collapse: collapse; mso-table-lspace: 0pt; mso-table-rspace: 0pt; }
img { border: 0; height: auto; line-height: 100%; outline: none; -ms-interpolation-mode: bicubic; }
p { display: block; margin: 13px 0; }
a { color: #1d5fa8; text-decoration: underline; }
a:hover { color: #0b2f57; }
a[x-apple-data-detectors] { color: inherit !important; text-decoration: none !important; }
h1, h2, h3 { font-family: "Trebuchet MS", Helvetica, sans-serif; font-weight: bold; color: #20303c; }
h2 { font-size: 22px; line-height: 28px; margin: 0 0 12px; }
.body { background-color: #eceff1; }
.section { background: #ffffff; background-color: #ffffff; margin: 0 auto; max-width: 600px; }
.column { vertical-align: top; }
.text { font-size: 14px; line-height: 22px; color: #37474f; }
.text a { color: #a84b1d; }
.button td { border-radius: 4px; background: #22863a; }
.button a { color: #ffffff !important; text-decoration: none; font-weight: bold; }
.divider { border-top: solid 1px #cfd8dc; font-size: 1px; margin: 0 auto; width: 100%; }
.footer .text { font-size: 11px; color: #90a4ae; }
.preheader { display: none; max-height: 0; overflow: hidden; }
@media only screen and (max-width: 480px) { .full-width { width: 100% !important; max-width: 100%; } }
"""
    + "".join(
        f"@media (min-width: 480px) {{ .column-{width} {{ width: {width}% !important; max-width: {width}%; }} }}\n"
        for width in (100, 75, 66, 50, 33, 25)
    )
    + "".join(f".space-{size} {{ padding: {size}px; }}\n.size-{size} {{ font-size: {size}px; }}\n" for size in range(8, 40, 4))
)

HEAD = """<!doctype html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:v="urn:schemas-microsoft-com:vml"
 xmlns:o="urn:schemas-microsoft-com:office:office" lang="en">
<head>
<title>{title}</title>
<!--[if !mso]><!-->
<meta http-equiv="X-UA-Compatible" content="IE=edge">
<!--<![endif]-->
<meta http-equiv="Content-Type" content="text/html; charset=UTF-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style type="text/css">
{sheet}</style>
<!--[if mso]><xml><o:OfficeDocumentSettings><o:AllowPNG/></o:OfficeDocumentSettings></xml><![endif]-->
</head>
<body class="body" style="word-spacing:normal;">
<div class="preheader" style="font-size:1px;">{title}</div>
<div role="article" aria-roledescription="email" lang="en">
"""

SECTION_OPEN = """
    <!--[if mso | IE]><table align="center" border="0" cellpadding="0" cellspacing="0" class="" role="presentation"
      style="width:600px;" width="600"><tr><td style="line-height:0px;font-size:0px;"><![endif]-->
    <div class="section" style="margin:0px auto;max-width:600px;">
      <table align="center" border="0" cellpadding="0" cellspacing="0" role="presentation" style="width:100%;">
        <tbody>
          <tr>
            <td style="direction:ltr;font-size:0px;padding:20px 0;text-align:center;">
"""

COLUMN = """
              <div class="column column-50 full-width"
                style="font-size:0px;text-align:left;direction:ltr;display:inline-block;vertical-align:top;width:100%;">
                <table border="0" cellpadding="0" cellspacing="0" role="presentation" width="100%">
                  <tbody>
                    <tr>
                      <td align="center" class="space-8" style="font-size:0px;word-break:break-word;">
                        <table border="0" cellpadding="0" cellspacing="0" role="presentation"
                          style="border-collapse:collapse;border-spacing:0px;">
                          <tbody>
                            <tr>
                              <td style="width:260px;">
                                <a href="https://www.example.com/{path}?utm_source=mail&amp;utm_content={number}">
                                  <img alt="{title}" height="auto" src="https://images.example.com/{path}.png"
                                    style="border:0;display:block;outline:none;height:auto;width:100%;font-size:13px;"
                                    width="260" />
                                </a>
                              </td>
                            </tr>
                          </tbody>
                        </table>
                      </td>
                    </tr>
                    <tr>
                      <td align="left" style="font-size:0px;padding:10px 25px;word-break:break-word;">
                        <div class="text" style="font-family:Ubuntu, Helvetica, Arial, sans-serif;text-align:left;">
                          <h2>{title}</h2>
                          <p>{text}</p>
                          <p>{more} <a href="https://www.example.com/{path}/read">{title}</a> &amp; {last}&nbsp;</p>
                        </div>
                      </td>
                    </tr>
                    <tr>
                      <td align="center" class="button" style="font-size:0px;padding:10px 25px;">
                        <table border="0" cellpadding="0" cellspacing="0" role="presentation"
                          style="border-collapse:separate;line-height:100%;">
                          <tbody>
                            <tr>
                              <td align="center" role="presentation" valign="middle"
                                style="border:none;border-radius:3px;cursor:auto;padding:10px 25px;">
                                <a href="https://shop.example.com/{path}?id={number}&amp;ref=mail" target="_blank"
                                  style="display:inline-block;font-size:13px;line-height:120%;margin:0;">{action}</a>
                              </td>
                            </tr>
                          </tbody>
                        </table>
                      </td>
                    </tr>
                    <tr>
                      <td align="center" style="font-size:0px;padding:10px 25px;word-break:break-word;">
                        <p class="divider" style="border-top:solid 1px #cfd8dc;font-size:1px;width:100%;">&nbsp;</p>
                      </td>
                    </tr>
                  </tbody>
                </table>
              </div>
"""

PARAGRAPH = """
  <table width="100%" cellpadding="0" cellspacing="0" role="presentation"><tr>
    <td align="left" style="padding:10px 25px;">
      <h2>{title}</h2>
      <p>{text}</p>
      <table class="button" align="center" cellpadding="0" role="presentation"><tr><td style="padding:8px 18px;">
        <a href="https://shop.example.com/{path}?id={number}&amp;ref=mail" target="_blank">{action}</a>
      </td></tr></table>
    </td>
  </tr></table>
"""

BETWEEN = """              <!--[if mso | IE]></td><td class="" style="vertical-align:top;width:300px;"><![endif]-->
"""

SECTION_CLOSE = """            </td>
          </tr>
        </tbody>
      </table>
    </div>
    <!--[if mso | IE]></td></tr></table><![endif]-->
"""

FOOTER_OPEN = """<div class="section footer"><p class="text">"""

FOOTER_CLOSE = """ <a href="https://www.example.com/leave?u=1">Unsubscribe</a></p></div>
</div>
</body>
</html>
"""


def newsletter(size: int) -> str:
    """An HTML newsletter of `size` octets in UTF-8; at least about 2 kB, whatever `size` says."""
    chance = Random(size)
    parts = [HEAD.format(title=_words(chance, 4), sheet=SHORT_SHEET if size < 8_000 else LONG_SHEET)]
    room = size - sum(map(len, (*parts, FOOTER_OPEN, FOOTER_CLOSE)))
    while room > 0:
        section = _column(chance, PARAGRAPH) if size < 8_000 else _section(chance)
        if len(section) > room:
            break
        parts.append(section)
        room -= len(section)
    filling = _words(chance, room // 4 + 2)[: max(room, 0)]
    return "".join((*parts, FOOTER_OPEN, filling, FOOTER_CLOSE))


def message(size: int, encoding: str = "quoted-printable") -> bytes:
    """A full message, multipart/alternative, whose HTML part is `newsletter(size)` in UTF-8.

    `encoding` is its Content-Transfer-Encoding: quoted-printable, base64 or 8bit. Lines end with CRLF.
    """
    html = newsletter(size).replace("\n", "\r\n").encode()
    if encoding == "quoted-printable":
        html = encodestring(html.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    elif encoding == "base64":
        coded = b64encode(html)
        html = b"\r\n".join(coded[at : at + 76] for at in range(0, len(coded), 76)) + b"\r\n"
    text = "\r\n".join(_words(Random(size + line), 11) for line in range(12)).encode()
    return b"\r\n".join(
        (
            b"From: Newsletter <news@example.com>",
            b"To: Reader <reader@example.org>",
            b"Subject: Sample newsletter of %d bytes" % size,
            b"Date: Mon, 02 Jun 2025 08:00:00 +0000",
            b"Message-ID: <sample-%d@example.com>" % size,
            b"MIME-Version: 1.0",
            b'Content-Type: multipart/alternative; boundary="=-sample"',
            b"",
            b"--=-sample",
            b"Content-Type: text/plain; charset=us-ascii",
            b"",
            text,
            b"--=-sample",
            b"Content-Type: text/html; charset=utf-8",
            b"Content-Transfer-Encoding: " + encoding.encode(),
            b"",
            html,
            b"--=-sample--",
            b"",
        )
    )


def _section(chance: Random) -> str:
    return SECTION_OPEN + BETWEEN.join(_column(chance, COLUMN) for _ in range(2)) + SECTION_CLOSE


def _column(chance: Random, template: str) -> str:
    return template.format(
        title=_words(chance, 4).capitalize(),
        path="/".join(chance.choices(WORDS, k=2)),
        number=chance.randrange(1000, 9999),
        text=_words(chance, 40),
        more=_words(chance, 12),
        last=_words(chance, 3),
        action=_words(chance, 2),
    )


def _words(chance: Random, count: int) -> str:
    words = chance.choices(WORDS, k=count)
    return "\n".join(" ".join(words[at : at + 12]) for at in range(0, count, 12))
