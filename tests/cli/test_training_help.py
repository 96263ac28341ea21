"""Help of the commands that train and of those that make their rows."""

import pytest


@pytest.mark.parametrize("command", ["train", "align", "mine", "pairs", "recipes"])
def test_help_is_short_at_the_top_and_ends_with_an_example(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    told = out.split("Arguments:")[0].split("Options:")[0].split("Output:")[0].strip().splitlines()
    assert len(told[2].strip()) <= 70
    assert told[-1].startswith(f"  Example: isthmus {command} ")
    assert len(told[-1]) <= 80


def test_flags_stand_in_panels(run):
    _, out, _ = run("align", "--help")
    panels = {title: out.split(f"\n{title}:\n")[1].split("\n\n")[0] for title in ("Common", "Method", "Ablation")}
    for panel, names in {
        "Common": ("--loss", "--steps", "--eval", "--column ROLE=NAME"),
        "Method": ("--alpha", "--kl / --no-kl", "--temperature", "--anchor", "--gather", "--last-rank", "--recipe"),
        "Ablation": ("--detach", "--eps", "--stock-head"),
    }.items():
        for name in names:
            assert f"  {name} " in panels[panel], name
    # An alignment has its own defaults of what it shares with training.
    assert "process (1 or more). [default: 64]" in " ".join(panels["Common"].split())
