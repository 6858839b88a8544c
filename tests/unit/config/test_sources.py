"""Files read, and read again: what changed is taken over as far as it is good, file by file."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlb.config.assembly import Judges
from streamlb.config.sources import Sources
from streamlb.config.transports import PemFault
from streamlb.errors import ConfigError
from tests.unit.config.files import MAIN, Files, app

if TYPE_CHECKING:
    from pathlib import Path

MORE = "providers: {file: {directory: more}}\n"


def of(tmp_path: Path, **texts: str) -> Files:
    """Files `a.yaml`, `b.yaml` ... by the names of arguments, beside a main one, read once."""
    files = Files(tmp_path, {"0.yaml": MAIN, **{f"{name}.yaml": text for name, text in texts.items()}})
    files.read()
    return files


# --- what changed for the good -----------------------------------------------------------------------------------


def test_a_change_is_taken_over(tmp_path: Path) -> None:
    files = of(tmp_path, a=app("a"), b=app("b"))
    assert files.reread() == (["a", "b"], [], [])
    files.write({"b.yaml": app("c"), "d.yaml": app("d")})
    assert files.reread() == (["a", "c", "d"], [], [])
    files.remove("a.yaml")
    assert files.reread() == (["c", "d"], [], [])


def test_nothing_is_done_where_nothing_has_changed(tmp_path: Path) -> None:
    files = of(tmp_path, a=app("a"))
    loaded = files.sources.reread().loaded
    os.utime(tmp_path / "a.yaml")
    assert files.sources.reread().loaded is loaded


def test_a_file_that_did_not_change_is_not_parsed_again(tmp_path: Path) -> None:
    files = of(tmp_path, a=app("a"), b=app("b"))
    before = files.sources.reread().loaded
    files.write({"b.yaml": app("c")})
    after = files.sources.reread().loaded
    place = ("http", "routers", "a")
    assert after.places[place].node is before.places[place].node


def test_what_is_said_to_be_nothing_takes_away(tmp_path: Path) -> None:
    files = of(tmp_path, a=app("a"), b=app("b"))
    files.write({"b.yaml": "http: {}\n"})
    assert files.reread() == (["a"], [], [])


def test_an_object_may_move_from_one_file_to_another(tmp_path: Path) -> None:
    files = of(tmp_path, a=app("a", "x"), b=app("b"))
    files.write({"a.yaml": app("a"), "b.yaml": app("b", "x")})
    assert files.reread() == (["a", "b", "x"], [], [])


def test_two_changes_that_need_each_other(tmp_path: Path) -> None:
    files = of(tmp_path, a=app("a"))
    router = "http: {routers: {x: {rule: Host(`x`), service: new}}}\n"
    service = "http: {services: {new: {loadBalancer: {servers: [{url: 'http://127.0.0.1:1'}]}}}}\n"
    files.write({"b.yaml": router})
    routers, problems, kept = files.reread()
    assert (routers, kept) == (["a"], [])
    assert problems[0].startswith("b.yaml:1:48 http.routers.x.service | unknown service `new`")
    files.write({"c.yaml": service})
    assert files.reread() == (["a", "x"], [], [])


def test_interpolated_values_are_looked_up_again(tmp_path: Path) -> None:
    files = Files(
        tmp_path, {"lb.yaml": "entryPoints: {web: {address: '127.0.0.1:${file:port}'}}\n", "port": "1\n"}, "lb.yaml"
    )
    assert files.read().config.entry_points["web"].address == "127.0.0.1:1"
    files.write({"port": "2\n"})
    assert files.sources.reread().loaded.config.entry_points["web"].address == "127.0.0.1:2"
    files.remove("port")
    found = files.sources.reread()
    assert found.loaded.config.entry_points["web"].address == "127.0.0.1:2"
    assert [files.line_of(problem) for problem in found.problems] == [
        "lb.yaml:1:41  | cannot read `port`: No such file or directory | "
    ]
    assert [os.path.basename(path) for path in found.kept] == ["lb.yaml"]


# --- files that are not good -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("http: [\n", "list"),
        ("http: {routers: {b: {rule: Host(`b`), service: b}}}\n", "unknown service `b`"),
        ("http: {rooters: {}}\n", "unknown key `rooters`"),
        ("http: 5\n", "expected a mapping"),
        ("- a\n", "expected"),
        ("", "the file is empty now"),
        ("# all of it is gone\n", "the file is empty now"),
        ("http:\n", "the file is empty now"),
        ("{}\n", "the file is empty now"),
        ("http: {routers: {x: {rule: Host(`x`), service: '${NOPE}'}}}\n", "no variable `NOPE`"),
        ("http: {services: {a: {loadBalancer: {servers: [{url: 'http://h:1'}]}}}}\n", "`a` is given twice"),
    ],
)
def test_the_last_good_version_of_a_bad_file_counts_while_the_rest_goes_on(
    tmp_path: Path, text: str, reason: str
) -> None:
    files = of(tmp_path, a=app("a"), b=app("b"), c=app("c"))
    files.write({"b.yaml": text, "c.yaml": app("cc")})
    routers, problems, kept = files.reread()
    assert routers == ["a", "b", "cc"]
    assert kept == ["b.yaml"]
    assert {problem.partition(":")[0] for problem in problems} == {"b.yaml"}
    assert reason in " ".join(problems) or reason == "list"
    assert files.reread() == (routers, problems, kept)
    files.write({"b.yaml": app("bb")})
    assert files.reread() == (["a", "bb", "cc"], [], [])


def test_a_new_file_that_is_not_good_is_left_out(tmp_path: Path) -> None:
    files = of(tmp_path, a=app("a"))
    files.write({"b.yaml": "http: {rooters: {}}\n", "c.yaml": app("c"), "d.yaml": "[\n", "e.yaml": ""})
    routers, problems, kept = files.reread()
    assert (routers, kept) == (["a", "c"], [])
    assert {problem.partition(":")[0] for problem in problems} == {"b.yaml", "d.yaml"}


def test_a_good_change_is_not_held_for_a_bad_one_beside_it(tmp_path: Path) -> None:
    """What the new file needs, the last good version of the bad one still has."""
    files = of(tmp_path, a=app("a"))
    files.write({"a.yaml": "http: {routers: 1}\n", "b.yaml": "http: {routers: {x: {rule: Path(`/x`), service: a}}}\n"})
    routers, problems, kept = files.reread()
    assert routers == ["a", "x"]
    assert [place.partition(":")[0] for place in problems] == ["a.yaml"]
    assert kept == ["a.yaml"]


def test_who_removes_what_others_need_is_to_blame(tmp_path: Path) -> None:
    services = "http: {services: {%s: {loadBalancer: {servers: [{url: 'http://127.0.0.1:1'}]}}}}\n"
    routers = "http: {routers: {a: {rule: Host(`a`), service: shared}}}\n"
    files = of(tmp_path, a=routers, b=services % "shared", c=app("c"))
    files.write({"b.yaml": services % "other", "c.yaml": app("cc")})
    found, problems, kept = files.reread()
    assert (found, kept) == (["a", "cc"], ["b.yaml"])
    assert problems[0].startswith("a.yaml:1:48 http.routers.a.service | unknown service `shared`")
    assert problems[1] == "b.yaml:1:1  | this change is not taken over: other files do not go with it | "
    files.remove("b.yaml")
    found, problems, kept = files.reread()
    assert (found, kept) == (["a", "cc"], ["b.yaml"])
    assert problems[1].startswith("b.yaml:1:1  | the file is gone, and others do not go without it")
    files.remove("a.yaml")
    assert files.reread() == (["cc"], [], [])


def test_two_of_three_changes_are_to_blame(tmp_path: Path) -> None:
    service = "http: {services: {%s: {loadBalancer: {servers: [{url: 'http://127.0.0.1:1'}]}}}}\n"
    routers = "http: {routers: {a: {rule: Host(`a`), service: one}, b: {rule: Host(`b`), service: two}}}\n"
    files = of(tmp_path, a=routers, b=service % "one", c=service % "two", d=app("d"))
    files.remove("b.yaml", "c.yaml")
    files.write({"d.yaml": app("dd")})
    found, problems, kept = files.reread()
    assert (found, kept) == (["a", "b", "dd"], ["b.yaml", "c.yaml"])
    assert len(problems) == 4


def test_the_main_file_s_static_part_is_no_exception(tmp_path: Path) -> None:
    files = Files(tmp_path, {"lb.yaml": MAIN + MORE, "more/a.yaml": app("a")}, "lb.yaml")
    files.read()
    files.write({"lb.yaml": MAIN.replace("8000", "x") + MORE, "more/a.yaml": app("aa")})
    routers, problems, kept = files.reread()
    assert (routers, kept) == (["aa"], ["lb.yaml"])
    assert problems[0].startswith("lb.yaml:1:")


def test_a_main_file_that_is_gone_stays(tmp_path: Path) -> None:
    files = Files(tmp_path, {"lb.yaml": MAIN + MORE + app("x"), "more/a.yaml": app("a")}, "lb.yaml")
    files.read()
    files.remove("lb.yaml")
    files.write({"more/a.yaml": app("aa")})
    gone = "lb.yaml:1:1  | cannot read the file: No such file or directory | "
    assert files.reread() == (["aa", "x"], [gone], ["lb.yaml"])


def test_a_directory_that_is_gone_stays(tmp_path: Path) -> None:
    files = Files(tmp_path, {"conf/lb.yaml": MAIN + MORE, "conf/more/a.yaml": app("a")}, "conf")
    files.read()
    (tmp_path / "conf").rename(tmp_path / "moved")
    routers, problems, kept = files.reread()
    assert (routers, kept) == (["a"], ["conf/lb.yaml", "conf/more/a.yaml"])
    assert problems[0] == "conf:1:1  | cannot read the directory: No such file or directory | "
    (tmp_path / "moved").rename(tmp_path / "conf")
    assert files.reread() == (["a"], [], [])


def test_a_provider_s_directory_that_is_gone_stays(tmp_path: Path) -> None:
    files = Files(tmp_path, {"lb.yaml": MAIN + MORE, "more/a.yaml": app("a")}, "lb.yaml")
    files.read()
    (tmp_path / "more").rename(tmp_path / "moved")
    routers, problems, kept = files.reread()
    assert (routers, kept) == (["a"], ["more/a.yaml"])
    assert "cannot read the directory `more`" in problems[0]


def test_a_directory_without_files_is_explicit(tmp_path: Path) -> None:
    files = Files(tmp_path, {"lb.yaml": MAIN + MORE, "more/a.yaml": app("a")}, "lb.yaml")
    files.read()
    files.remove("more/a.yaml")
    assert files.reread() == ([], [], [])


def test_no_file_at_all_is_not(tmp_path: Path) -> None:
    files = of(tmp_path, a=app("a"))
    files.remove("0.yaml", "a.yaml")
    gone = ".:1:1  | there is no YAML file left in the directory: what was there stays | "
    assert files.reread() == (["a"], [gone], ["0.yaml", "a.yaml"])


def test_manifests_are_files_like_others(tmp_path: Path) -> None:
    manifest = """\
        apiVersion: traefik.io/v1alpha1
        kind: IngressRoute
        metadata: {name: %s}
        spec:
          routes:
          - {match: Host(`%s`), kind: Rule, services: [{name: app, port: 80}]}
        """
    main = MAIN + "providers: {kubernetesManifests: {paths: [k], endpoints: {default/app: ['127.0.0.1:1']}}}\n"
    files = Files(
        tmp_path, {"lb.yaml": main, "k/a.yaml": manifest % ("a", "a"), "k/b.yaml": manifest % ("b", "b")}, "lb.yaml"
    )
    assert len(files.routers()) == 2
    files.write({"k/a.yaml": "", "k/b.yaml": manifest % ("b", "b") + "bad: [\n", "k/c.yaml": manifest % ("c", "c")})
    routers, _, kept = files.reread()
    assert (len(routers), kept) == (3, ["k/a.yaml", "k/b.yaml"])
    files.remove("k/a.yaml")
    assert len(files.reread()[0]) == 2


# --- certificates ------------------------------------------------------------------------------------------------


def judge(certificates: str, key: str) -> PemFault | None:
    """A key fits if it ends as its certificate does."""
    good = certificates.split()[-1] == key.split()[-1] if key else "BAD" not in certificates
    return None if good else PemFault("the key does not fit", of_key=True)


def test_a_certificate_that_is_not_good_any_more_holds_nothing_up(tmp_path: Path) -> None:
    tls = "tls: {certificates: [{certFile: c.pem, keyFile: k.pem}]}\n"
    pem = {"c.pem": "-----BEGIN C 1", "k.pem": "-----BEGIN K 1"}
    files = Files(tmp_path, {"0.yaml": MAIN + tls, "a.yaml": app("a"), **pem}, judges=Judges(check_pem=judge))
    files.read()
    files.write({"c.pem": "-----BEGIN C 2", "a.yaml": app("aa")})
    found = files.sources.reread()
    certificate = found.loaded.config.tls.certificates[0]
    assert (certificate.cert_file, certificate.key_file) == ("-----BEGIN C 1", "-----BEGIN K 1")
    assert list(found.loaded.config.http.routers) == ["aa"]
    assert [files.line_of(each) for each in found.problems] == [
        "0.yaml:2:49 tls.certificates[0].keyFile | the key does not fit | what was read before stays in use"
    ]
    assert found.kept == [str(tmp_path / "k.pem")]
    files.remove("c.pem")
    assert "cannot read `c.pem`" in " ".join(files.reread()[1])
    files.write({"c.pem": "-----BEGIN C 2", "k.pem": "-----BEGIN K 2"})
    found = files.sources.reread()
    assert (found.problems, found.kept) == ([], [])
    assert found.loaded.config.tls.certificates[0].cert_file == "-----BEGIN C 2"
    files.write({"c.pem": "rubbish"})
    assert "is not PEM text" in " ".join(files.reread()[1])


def test_a_new_certificate_must_be_good(tmp_path: Path) -> None:
    files = of(tmp_path, a=app("a"))
    files.write({"b.yaml": "tls: {certificates: [{certFile: c.pem, keyFile: k.pem}]}\n"})
    routers, problems, kept = files.reread()
    assert (routers, kept) == (["a"], [])
    assert {problem.partition(":")[0] for problem in problems} == {"b.yaml"}


# --- secrets -----------------------------------------------------------------------------------------------------


def test_no_message_tells_a_secret(tmp_path: Path) -> None:
    text = "http: {routers: {a: {rule: '${file:rule}', service: '${API_TOKEN}', entryPoints: ['${PORT}']}}}\n"
    files = Files(tmp_path, {"0.yaml": MAIN, "a.yaml": text, "rule": "Hosst(`very-secret`)\n"})
    found = "\n".join(files.problems())
    assert "very-secret" not in found
    assert "hush" not in found
    assert "unknown service `(a secret)`" in found
    assert "unknown entry point `8001`" in found


def test_positions_inside_what_was_put_in_are_not_guessed(tmp_path: Path) -> None:
    text = "http: {routers: {a: {rule: 'Host(`a`) && Bogus(`${PORT}`)', service: a}}}\n"
    files = Files(tmp_path, {"0.yaml": MAIN, "a.yaml": text + app("b").replace("http:\n", "x:\n")})
    assert files.problems()[0].startswith("a.yaml:")


# --- whatever the files hold -------------------------------------------------------------------------------------

PIECES = (
    "", MAIN, app("a"), app("b"), app("a", "b"), "http: {}\n", "http:\n", "[\n", "5\n", "\xff", "a: ${PORT}\n",
    "entryPoints: {web: {address: '${PORT}'}}\n", "http: {services: {a: ${", "tls: {certificates: [{}]}\n",
    "udp: {routers: {a: {service: a}}}\n", "providers: {file: {directory: /nowhere}}\n", "---\n---\n",
    "providers: {file: {filename: ../nowhere/1.yaml}}\n", "providers: {kubernetesManifests: {paths: [1.yaml]}}\n",
    "apiVersion: v1\nkind: Secret\n", "workers: 2\n", "workers: 3\n", "providers: [1]\n", "providers: {file: x}\n",
)  # fmt: skip

disks = st.fixed_dictionaries({}, optional={f"/nowhere/{number}.yaml": st.sampled_from(PIECES) for number in range(4)})


@settings(max_examples=200)
@given(st.lists(disks, min_size=1, max_size=5))
def test_reading_again_never_raises_and_ends_where_reading_would(rounds: list[dict[str, str]]) -> None:
    disk = {"/nowhere/0.yaml": MAIN + app("a")}

    def read(path: str) -> bytes:
        if path not in disk:
            raise FileNotFoundError(2, "No such file", path)
        return disk[path].encode("latin-1")

    paths = [f"/nowhere/{number}.yaml" for number in range(4)]
    with contextlib.suppress(ConfigError):
        Sources(paths, read=read).read()
    sources = Sources(paths[:1], read=read)
    sources.read()
    for held in rounds:
        disk.clear()
        disk.update(held)
        found = sources.reread()
        assert found.loaded.config.entry_points
        assert bool(found.problems) >= bool(found.kept)
        try:
            whole = Sources(paths[:1], read=read).read()
        except ConfigError:
            continue
        if not found.kept:
            assert found.loaded.config == whole.config
