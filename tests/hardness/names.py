"""Names that mean something to Markdown, HTML, a chart or a spreadsheet, as files, people and other machines may give them."""

import random

HOST = "evil.example"  # nobody's: RFC 2606
PICTURE = f"![x](http://{HOST}/x.png)"
# A slash cannot be in the name of a file, but what stands for one can: Markdown reads entities in addresses.
FILE_PICTURE = f"![x](http:&#47;&#47;{HOST}&#47;x.png)"
FILE_NAME = f"{FILE_PICTURE} [y](http:&#47;&#47;{HOST}) www.{HOST} a@{HOST} :smile: $a^2$"
MARKUP = (
    *(PICTURE, f"[a](http://{HOST})", f"[a][b] [b]: http://{HOST}", f"http://{HOST}/x?a=b&c", f"HTTPS://{HOST}/"),
    *(
        f"see www.{HOST}.",
        f"wwW.{HOST}",
        f"a@{HOST}",
        f"ftp://{HOST}",
        f"<http://{HOST}>",
        f"mailto:a@{HOST}",
        "xmpp:a@b.cc",
    ),
    *(
        f"<img src=http://{HOST}/y.png>",
        f"<a href=http://{HOST}>y</a>",
        "<b>x</b>",
        "<!-- x -->",
        "javascript:alert(1)",
    ),
    *(
        ":material/home:",
        ":material_home:",
        ":streamlit:",
        ":smile:",
        ":red[r]",
        ":red-background[x]",
        ":help[x]",
        "::x",
        ":::x",
    ),
    *("$a^2$ and $$b$$", "`code`", "```\nx\n```", "~~a~~ ~b~", "*a* _b_ __c__ a_b_c", "***", "&amp; &#65; &copy"),
    *(
        "# h",
        "> q",
        "- a",
        "+ b",
        "1. a",
        "2) b",
        "- [ ] todo",
        "[^1]",
        "| a |\n|---|\n| 1 |",
        "a\n===",
        "    indented",
        "=a",
        "@c",
    ),
    *(
        "a -> b <- c",
        "->",
        "<-",
        "--",
        "a -- b",
        "<= >= ~= <->",
        "a\nb\n\n- c",
        "a\\",
        "\\*",
        "{.a}",
        "%{x}",
        "{b}",
        "a:b:c:",
    ),
    *("a\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe", "\udcff.png", "case_01_Å_x.png", "Stone- (17).jpg", "50 % “wide”"),
)
FORMULAS = ("=HYPERLINK(1)", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "a;=1", "'=1")
_PARTS = [*"`*_[]()<>~|$&:#-+=.!@\\/'\"{}^ \n", *"a1", "http", "www", "smile", "material", "red", HOST]


def random_names(n: int, seed: int = 0) -> list[str]:
    """Names made of the signs that mean something, in any order."""
    chance = random.Random(seed)
    return ["".join(chance.choices(_PARTS, k=chance.randint(2, 14))) for _ in range(n)]
