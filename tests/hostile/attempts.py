"""Every hostile strategy with its verdict; docs/leaks.md holds the table that is made from this list."""

from __future__ import annotations

from dataclasses import dataclass

from sites.gate import Code

BITS = {
    "weights_hold_image": "32 a weight",
    "retained_image": "32 a weight",
    "low_bits": "8 a weight as tried, 32 at most",
    "negative_zero": "1 a weight as tried, 32 at most",
    "denormals": "8 a weight as tried, 32 at most",
    "mislabelled_kind": "32 a value",
    "count_field": "48 a count as tried; 64 less those of the rounding at most",
    "scores_at_home": "1 a score as tried, 32 at most",
    "refusal_code": "3.8 a refusal, which stops the run",
}


@dataclass(frozen=True)
class Attempt:
    """A strategy of this folder: refused by a code, or let through by a channel; by neither: kept in the site's log.

    The channel `codes` is a refusal by a code of the strategy's own choice.
    """

    name: str
    what: str
    code: Code | None = None
    channel: str | None = None

    @property
    def verdict(self) -> str:
        if self.code is not None:
            return f"refused: `{self.code.name}`"
        kept = "; the audit fails: kept undeclared" if self.name == "retained_image" else ""
        return f"**remains**: channel `{self.channel}`{kept}" if self.channel else "kept in the site's own log"


ATTEMPTS = (
    Attempt("extra_key", "a further tensor that holds the image", code=Code.NOT_AS_DECLARED),
    Attempt("named_key", "a tensor called by the patient's name, as a metric would be", code=Code.NOT_AS_DECLARED),
    Attempt("longer_tensor", "a declared tensor made longer by the image", code=Code.NOT_AS_DECLARED),
    Attempt("other_dtype", "a declared tensor in double precision", code=Code.NOT_AS_DECLARED),
    Attempt("nan_payload", "the image in the payload bits of NaNs", code=Code.NOT_FINITE),
    Attempt("exception_text", "the patient's name in the text of an exception", code=Code.SITE_ERROR),
    Attempt("log_line", "the patient's name in a log line"),
    Attempt("standard_output", "the patient's name printed"),
    Attempt("warning_text", "the patient's name in the text of a warning"),
    Attempt("attribute", "an attribute set on the upload", code=Code.NOT_AS_DECLARED),
    Attempt("two_uploads", "a second upload in one turn", code=Code.NOT_AS_DECLARED),
    Attempt("many_scores", "scores in the upload's place, with a row for each pixel", code=Code.NOT_AS_DECLARED),
    Attempt("subclass", "a subclass of the upload with one more field", code=Code.NOT_AS_DECLARED),
    Attempt("weights_hold_image", "weights that simply hold the image", channel="values"),
    Attempt("retained_image", "an image kept in the vault and sent at a later step", channel="values"),
    Attempt("low_bits", "the image in the low-order bits of the weights", channel="values"),
    Attempt("negative_zero", "the image, thresholded, in the signs of zeros", channel="values"),
    Attempt("denormals", "the image in denormal numbers", channel="values"),
    Attempt("mislabelled_kind", "the image in a field declared to be a statistic", channel="values"),
    Attempt("count_field", "the image, thresholded, in a count that rounding leaves as it is", channel="counts"),
    Attempt("scores_at_home", "a bit of a held-out image in its score, by weights broken at home", channel="scores"),
    Attempt("refusal_code", "the brightness of the image in the code of a refusal", channel="codes"),
    Attempt("file_left", "the image in a file in the working folder", channel="code"),
    Attempt("native_output", "the patient's name written below Python", channel="output"),
    Attempt("timing", "a bit of the image in the time that the answer takes", channel="timing"),
)


def table() -> str:
    """Return the verdicts as a Markdown table."""
    head = "| strategy | what it tries | verdict | bits |\n| --- | --- | --- | --- |\n"
    rows = (f"| `{a.name}` | {a.what} | {a.verdict} | {_bits(a)} |\n" for a in ATTEMPTS)
    return head + "".join(rows)


def _bits(attempt: Attempt) -> str:
    return BITS.get(attempt.name, "not known" if attempt.channel else "0")
