"""What is deployed is under licences that are permitted, and the page lists them."""

import pytest

from infra import licences


@pytest.fixture(scope="module")
def packages() -> dict[str, str]:
    return licences.of_packages()


@pytest.mark.slow
def test_each_package_is_under_a_permitted_licence(packages: dict[str, str]) -> None:
    assert {name.lower().replace("_", "-") for name in packages} == set(licences.deployed())
    assert not {name: said for name, said in packages.items() if said not in licences.PERMITTED}


@pytest.mark.slow
def test_the_page_is_what_make_licences_writes(packages: dict[str, str]) -> None:
    assert licences.PAGE.read_text(encoding="utf-8") == licences.page(packages, licences.libraries())


def test_each_native_library_is_one_whose_licence_is_known() -> None:
    inside = {each for some in licences.libraries().values() for each in some}
    assert "libheif" in inside
    assert inside == set(licences.LIBRARIES)


def test_an_encoder_under_the_gpl_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # pillow-heif, which writes the pictures of tests, has x265 inside, and its metadata says BSD.
    monkeypatch.setattr(licences, "deployed", lambda: ["pillow-heif"])
    inside = licences.libraries()["pillow-heif"]
    assert "libx265" in inside
    with pytest.raises(KeyError, match="libx265"):
        licences.page({}, {"pillow-heif": inside})
