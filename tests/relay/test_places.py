"""What a relay makes of the coordinator's status."""

from drsync.adapters.api_client.doc import Doc
from drsync.model.epoch import NEVER
from drsync.relay.places import Place, Places, Word

STATUS = Doc(
    {
        "groups": {"orders": {"owner": "production", "epoch": 7}},
        "centers": {
            "production": {"volumes": {"orders/data": "nbd+unix:///data?socket=/p", "orders/log": "x"}},
            "same_city": {"volumes": {"other/data": "y"}},
            "remote": {},
        },
    }
)


def test_the_status_says_epoch_owner_and_addresses() -> None:
    word = Word.of(STATUS, "orders", "data")
    assert (word.epoch, word.owner, word.is_known) == (7, "production", True)
    assert word.places == (Place("production", "nbd+unix:///data?socket=/p"),)
    assert word.volumes == ("data", "log")


def test_a_group_it_does_not_know_and_words_it_cannot_read_are_harmless() -> None:
    assert not Word.of(STATUS, "nothing", "data").is_known
    for odd in (
        {},
        {"groups": {"orders": {"epoch": -1}}},
        {"groups": {"orders": {"epoch": 1 << 70}}},
        {"groups": 3},
    ):
        assert Word.of(Doc(odd), "orders", "data").epoch == NEVER


def test_the_owner_is_tried_first_and_old_addresses_are_not_forgotten() -> None:
    places = Places(())
    assert places.learn(Word.of(STATUS, "orders", "data"))
    assert not places.learn(Word.of(STATUS, "orders", "data")), "nothing new"
    moved = {
        "groups": {"orders": {"owner": "same_city", "epoch": 8}},
        "centers": {"same_city": {"volumes": {"orders/data": "nbd+unix:///data?socket=/s"}}},
    }
    assert places.learn(Word.of(Doc(moved), "orders", "data"))
    assert [place.center for place in places.in_order()] == ["same_city", "production"]


def test_what_the_operator_wrote_stands() -> None:
    given = Place("production", "nbd://127.0.0.1:10810/data")
    places = Places((given,))
    places.learn(Word.of(STATUS, "orders", "data"))
    assert places.in_order() == [given]
