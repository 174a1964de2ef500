"""Foreign texts for tests: controls, bidirectional marks, line ends, surrogates, formulas and markup."""

from __future__ import annotations

import unicodedata

from hypothesis import strategies as st

ANY = st.text(st.characters(), max_size=20) | st.text(
    st.sampled_from("\x00\x07\x1b\x7f\x9b\n\r\t=+-@ [/x]\u202e\u2066\u200b\u2028\ufeff\udc80\u3164é日"), max_size=12
)


def is_safe(text: str) -> bool:
    return not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"} for c in text)
