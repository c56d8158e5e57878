"""Commands of the pages that the test does not run as they stand: who runs them, or what is run in their place."""

from __future__ import annotations

from typing import Final

HOURS: Final = "minutes to hours, and figures of a machine; each is begun by hand, and a test sees that it is there"
SYSTEMD: Final = "root's, on a machine with systemd: tests/integration/test_under_systemd.py boots one and runs it"
ROOTS: Final = "root's, and changes the machine"
OWN_TEST: Final = "takes long; its own test is "

NOT_RUN_HERE: Final = {
    "make demo": "installs, then plays the demo, which tests/integration/test_demo.py does",
    "make test": "runs this test; .ci/run gives it",
    "make bench": HOURS,
    "make deb": "downloads what goes into the package; packaging/debian/build is run by hand",
    "make install-demo": "downloads; `make demo` begins with it",
    "make install-dev": "downloads; .ci/run begins with it",
    "python -m benchmarks": HOURS,
    "python -m schedulerd.reference": "tests/test_reference.py calls it",
    "python -m schedulerd.metrics.reference": "tests/metrics/test_reference.py calls it",
    "python3 -m venv": ROOTS,
    "python3.11 -m venv": ROOTS,
    "/opt/schedulerd/bin/pip install": ROOTS,
    "apt install": ROOTS,
    "apt purge": ROOTS,
    "ln -s": ROOTS,
    "usermod": ROOTS,
    "chown": SYSTEMD,
    "systemctl": SYSTEMD,
    "systemd-sysusers": SYSTEMD,
    "systemd-tmpfiles": SYSTEMD,
    "systemd-analyze security": "tests/test_systemd.py runs it for every profile",
    "journalctl": SYSTEMD,
    "export PATH": "the tests run in the environment that it names",
    "promtool check rules": "tests/integration/test_metrics.py runs it where there is a promtool",
    "curl": "tests/integration/test_metrics.py scrapes",
    "schedulerd run --runtime": "the daemon of tests/integration/daemons.py is started so",
    "schedulerd peer": "tests/commands/test_peer_command.py runs it",
    "schedulerd profile": OWN_TEST + "tests/profiles/test_profile_command.py",
    "schedulerd scene heat-ramp": OWN_TEST + "tests/scenes/test_played.py",
    "schedulerd scene memory-squeeze": OWN_TEST + "tests/scenes/test_played.py",
    "schedulerd scene my.toml": OWN_TEST + "tests/scenes/test_played.py",
    "schedulerd build --recipe": OWN_TEST + "tests/commands/test_build_command.py",
    "schedctl completion bash > ": "tests/test_completion.py runs the script; where it goes is root's",
    "schedctl --connect": "tests/integration/test_remote.py connects so",
    "schedctl keys new": "tests/test_ctl_remote.py makes keys",
    "schedulerd keys": "tests/commands/test_keys_command.py makes and shows keys",
    "cp anna.public": SYSTEMD,
    "cp remote.public": SYSTEMD,
    "rm /etc/schedulerd/operators": SYSTEMD,
    "schedulerd build ...": OWN_TEST + "tests/commands/test_build_command.py",
}
"""By its beginning, why not; a test of ours that runs it is named by its path."""

NAMED: Final = frozenset(
    {
        "schedctl --runtime DIR",
        "schedctl budget",
        "schedctl limit memory",
        "schedctl overrides drop",
        "schedctl whatif",
        "schedulerd build",
        "schedulerd demo",
        "schedulerd install-units",
        "schedulerd replay",
        "schedulerd run",
        "schedulerd store export",
        "schedulerd store import",
    }
)
"""Sentences that name a command without what it needs: its `--help` is there."""

IN_ITS_PLACE: Final = {
    "schedctl top": "schedctl top --looks 1",
    "schedctl top --picture top.svg": "schedctl top --picture top.svg --looks 1",
    "schedulerd check-config": "schedulerd check-config board.toml",
    "schedulerd replay FILE": "schedulerd replay decisions.jsonl",
    "schedulerd store import --store /var/lib/schedulerd/store YOUR-MODELS.tar": (
        "schedulerd store import --store board schedulerd/demo/demo-store.tar"
    ),
}
"""The same, bounded, or in the test's own folders."""

UNITS: Final = "schedulerd install-units"
INTO_A_FOLDER: Final = "--root card --program /opt/schedulerd/bin/schedulerd"
"""What is added to those, as the machine's own `/` is not the test's."""

OFTEN: Final = (
    *("schedctl status", "schedctl apps", "schedctl plan", "schedctl models", "schedctl top", "schedctl why"),
    *("schedctl whatif", "schedctl events", "schedctl budget", "schedulerd"),
)
"""What changes nothing that others need is run once, however many pages have it."""
