"""Values of options that may be left out, or that follow each other."""

from clinical_modernbert.launcher.interface.arguments import with_optional_number, with_repeated


def test_values_of_options_that_may_be_left_out_or_repeated() -> None:
    for arguments, expected in (
        (["a", "--watch"], ["a", "--watch", "2"]),
        (["--watch", "a"], ["--watch", "2", "a"]),
        (["a", "--watch", "0.5", "b"], ["a", "--watch", "0.5", "b"]),
        (["--watch=5", "a"], ["--watch=5", "a"]),
        (["--watch", "--json"], ["--watch", "2", "--json"]),
    ):
        assert with_optional_number(arguments, "--watch", "2") == expected
    for arguments, expected in (
        (["d", "--notes", "a", "b", "--model", "m"], ["d", "--notes", "a", "--notes", "b", "--model", "m"]),
        (["--notes", "a", "--notes", "b", "c"], ["--notes", "a", "--notes", "b", "--notes", "c"]),
        (["--model", "m", "d"], ["--model", "m", "d"]),
        (["--notes"], ["--notes"]),
    ):
        assert with_repeated(arguments, "--notes") == expected
