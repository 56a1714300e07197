"""What engines say while they build, and which layers go."""

from homeport.drivers.docker.building import Telling, is_step
from homeport.drivers.docker.cache import Layer, surplus

DOCKER = [
    {"stream": "Step 1/4 : FROM base"},
    {"stream": "\n"},
    {"stream": " ---> 81bee23b4029\n"},
    {"stream": 'Step 2/4 : LABEL homeport.builder="x"'},
    {"stream": "\n ---> Running in d6bacc0f9a78\n"},
    {"stream": "Removing intermediate container d6bacc0f9a78\n ---> ce5804746b47\n"},
    {"stream": "Step 3/4 : RUN make\n"},
    {"stream": " ---> Using cache\n ---> 0a8847f00987\n"},
    {"stream": "par"},
    {"stream": "t\n\u001b[91merr\n\u001b[0m"},
    {"status": "Downloading", "progressDetail": {"current": 1}, "id": "abc"},
    {"status": "Pull complete", "progressDetail": {}, "id": "abc"},
    {"errorDetail": {"code": 7, "message": "The command returned a non-zero code: 7"}, "error": "The command"},
]


def test_what_an_engine_says_becomes_lines_and_the_reason_of_a_failure() -> None:
    telling = Telling(2, "==> ")
    lines = [line for said in DOCKER for line in telling.read(said)]
    assert lines == [
        *("==> Step 1/2: FROM base", "==> Step 2/2: RUN make", "(from the cache)", "part", "err", "abc: Pull complete")
    ]
    assert (telling.step, telling.code) == ("RUN make", 7)
    assert telling.failure == "The command returned a non-zero code: 7"
    assert telling.layers == {"81bee23b402", "ce5804746b4", "0a8847f0098"}


def test_podman_is_understood() -> None:
    telling = Telling(2, "==> ")
    said = [
        "STEP 1/4: FROM base\n",
        'STEP 2/4: LABEL homeport.builder="x"\n',
        "--> 0a8847f0098\n",
        "STEP 3/4: RUN make\n",
    ]
    said += [
        "--> Using cache 0a8847f00987aa\n",
        "done\n",
        "STEP 4/4: LABEL homeport.kind=x\n",
        "COMMIT name\n",
        f"{'a' * 64}\n",
    ]
    lines = [line for text in said for line in telling.read({"stream": text})]
    assert lines == ["==> Step 1/2: FROM base", "==> Step 2/2: RUN make", "(from the cache)", "done"]


def test_a_line_without_an_end_is_told_and_never_held_for_ever() -> None:
    telling = Telling(0, "==> ")
    assert [len(line) for line in telling.read({"stream": "x" * 40_000})] == [16 * 1024] * 2
    assert [len(line) for line in telling.rest()] == [40_000 - 2 * 16 * 1024]


def test_a_container_of_a_unit_or_of_a_finished_image_is_no_step() -> None:
    assert is_step({"homeport.builder": "a"})
    assert not is_step({"homeport.builder": "a", "homeport.unit": "rep-1"})
    assert not is_step({"homeport.builder": "a", "homeport.revision": "rev-1"})


def layer(ident: str, parent: str = "", size: int = 0, used_at: float = 0, **more: bool) -> Layer:
    flags = {"ours": True, "named": False, **more}
    return Layer(id=ident, parent=parent, size=size, used_at=used_at, ours=flags["ours"], named=flags["named"])


def test_layers_go_from_the_top_the_one_first_that_was_not_used_for_longest() -> None:
    base = layer("base", size=100, ours=False, named=True)
    old, top = layer("old", "base", 110, used_at=1), layer("top", "old", 130, used_at=2)
    young = layer("young", "base", 140, used_at=9)
    layers = [base, old, top, young]
    assert surplus(layers, 70) == []
    assert surplus(layers, 69) == ["top"]
    assert surplus(layers, 45) == ["top", "old"]
    assert surplus(layers, 0) == ["top", "old", "young"]


def test_layers_of_a_named_image_and_of_others_neither_count_nor_go() -> None:
    layers = [
        layer("below", size=50, used_at=1),
        layer("image", "below", 60, named=True),
        layer("theirs", size=500, ours=False),
        layer("mine", size=10),
        layer("on-mine", "mine", 20, ours=False),
    ]
    assert surplus(layers, 0) == []  # somebody builds upon the only one that counts
