from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, SecretStr, ValidationError

from trunkline_common import settings
from trunkline_common.settings import SECRET_FILE_BYTES_MAX, CommonSettings, SettingsError, load, secrets

SECRET = "sk-canary-0123456789"
CREDENTIALS = "-----BEGIN NATS USER JWT-----\neyJ0.eyJ1\n-----BEGIN USER NKEY SEED-----\nSUACANARY\n"


class Settings(CommonSettings):
    test_key: SecretStr = Field(description="key that pays for the calls")
    test_port: int = Field(8080, ge=0, le=65535, description="TCP port")
    test_shape: Literal["ga", "beta"] = Field("ga", description="shape of the events")
    test_note: str | None = None


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Only what the test sets, and the one variable that has no default."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.setenv("TEST_KEY", SECRET)
    return monkeypatch


def complaint() -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(Settings)
    return str(error.value).splitlines()


class TestWhereValuesComeFrom:
    def test_the_environment(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("TEST_PORT", "9000")
        environment.setenv("TRUNKLINE_REGION", "eu-1")

        loaded = load(Settings)

        assert (loaded.test_port, loaded.trunkline_region) == (9000, "eu-1")
        assert loaded.test_key.get_secret_value() == SECRET

    def test_defaults(self) -> None:
        loaded = load(Settings)

        assert loaded.nats_url == "nats://127.0.0.1:4222"
        assert (loaded.nats_creds, loaded.trunkline_region, loaded.log_level) == (None, "local", "info")

    def test_a_file_named_by_the_environment(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        environment.delenv("TEST_KEY")
        environment.setenv("TEST_KEY_FILE", write(tmp_path / "key", f"{SECRET}\n"))
        environment.setenv("TEST_PORT_FILE", write(tmp_path / "port", "9000"))

        loaded = load(Settings)

        assert loaded.test_key.get_secret_value() == SECRET
        assert loaded.test_port == 9000

    def test_the_variable_wins_over_its_file_which_is_then_not_read(
        self, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        environment.setenv("TEST_KEY_FILE", str(tmp_path / "missing"))

        assert load(Settings).test_key.get_secret_value() == SECRET

    def test_an_argument_wins_over_both(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("TEST_PORT", "9000")

        assert Settings(test_port=1, test_key=SecretStr("x")).test_port == 1

    def test_an_empty_variable_is_unset(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        environment.setenv("TEST_PORT", "")
        environment.setenv("TEST_NOTE", "")
        environment.setenv("NATS_CREDS", "")
        environment.setenv("TEST_SHAPE_FILE", "")
        environment.setenv("TEST_KEY", "")
        environment.setenv("TEST_KEY_FILE", write(tmp_path / "key", SECRET))

        loaded = load(Settings)

        assert (loaded.test_port, loaded.test_note, loaded.nats_creds) == (8080, None, None)
        assert loaded.test_key.get_secret_value() == SECRET

    def test_an_empty_file_is_unset_too(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        environment.delenv("TEST_KEY")
        environment.setenv("TEST_KEY_FILE", write(tmp_path / "key", "\n"))

        assert complaint() == ["TEST_KEY: is not set (key that pays for the calls)"]

    def test_unknown_variables_do_not_matter(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("TRUNKLINE_ADDED_LATER", "1")

        load(Settings)

    def test_they_cannot_be_changed_afterwards(self) -> None:
        with pytest.raises(ValidationError):
            load(Settings).test_port = 1  # type: ignore[misc]  # the point of the test


class TestWhatIsWrong:
    def test_a_missing_variable_is_named_with_its_meaning(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("TEST_KEY")

        assert complaint() == ["TEST_KEY: is not set (key that pays for the calls)"]

    def test_each_wrong_variable_has_one_line(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("TEST_KEY")
        environment.setenv("TEST_PORT", "eighty")
        environment.setenv("TEST_SHAPE", "round")
        environment.setenv("TRUNKLINE_REGION", "eu.1")
        environment.setenv("LOG_LEVEL", "loud")
        environment.setenv("NATS_URL", "http://bus")

        assert sorted(line.split(":")[0] for line in complaint()) == [
            "LOG_LEVEL",
            "NATS_URL",
            "TEST_KEY",
            "TEST_PORT",
            "TEST_SHAPE",
            "TRUNKLINE_REGION",
        ]

    @pytest.mark.parametrize("port", ["65536", "-1", "80.5", "0x50"])
    def test_a_number_out_of_its_range(self, environment: pytest.MonkeyPatch, port: str) -> None:
        environment.setenv("TEST_PORT", port)

        (line,) = complaint()

        assert line.startswith("TEST_PORT: ")
        assert line.endswith("(TCP port)")

    def test_files_that_cannot_be_read_are_named_all_at_once(
        self, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        environment.setenv("TEST_KEY", "")
        environment.setenv("TEST_KEY_FILE", str(tmp_path / "missing"))
        environment.setenv("TEST_NOTE_FILE", str(tmp_path))
        environment.setenv("TEST_PORT_FILE", write(tmp_path / "binary", b"\xff\xfe"))
        environment.setenv("TEST_SHAPE_FILE", write(tmp_path / "large", "x" * (SECRET_FILE_BYTES_MAX + 1)))

        assert complaint() == [
            f"TEST_KEY_FILE: cannot read {tmp_path}/missing: No such file or directory",
            f"TEST_PORT_FILE: {tmp_path}/binary is not UTF-8 text",
            f"TEST_SHAPE_FILE: {tmp_path}/large is larger than {SECRET_FILE_BYTES_MAX} bytes",
            f"TEST_NOTE_FILE: cannot read {tmp_path}: Is a directory",
        ]

    def test_an_endless_file_is_not_read_to_its_end(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("TEST_NOTE_FILE", "/dev/zero")

        assert complaint() == [f"TEST_NOTE_FILE: /dev/zero is larger than {SECRET_FILE_BYTES_MAX} bytes"]


class TestSecrets:
    def test_are_not_in_what_is_printed(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("NATS_URL", "nats://user:canary@bus:4222")

        loaded = load(Settings)

        for text in (repr(loaded), str(loaded), repr(loaded.test_key)):
            assert "canary" not in text

    @pytest.mark.parametrize("variable", ["TEST_PORT", "TEST_SHAPE", "NATS_URL", "NATS_CREDS", "LOG_LEVEL"])
    def test_are_not_in_a_complaint_when_they_stand_in_the_wrong_place(
        self, environment: pytest.MonkeyPatch, variable: str
    ) -> None:
        environment.setenv(variable, SECRET)

        (line,) = complaint()

        assert line.startswith(f"{variable}: ")
        assert "canary" not in line

    def test_credentials_in_the_place_of_their_file_s_path(
        self, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        environment.setenv("NATS_CREDS_FILE", write(tmp_path / "nats.creds", CREDENTIALS))

        (line,) = complaint()

        assert "must be the path of the file that holds them" in line
        assert "CANARY" not in line

    @pytest.mark.parametrize(
        ("value", "parts"),
        [("one", ("one",)), ("new, old", ("new", "old")), (" new ,,", ("new",)), (" , ", ())],
    )
    def test_several_while_rotating(self, value: str, parts: tuple[str, ...]) -> None:
        assert secrets(SecretStr(value)) == parts


class TestNats:
    @pytest.mark.parametrize(
        "url",
        ["nats://bus", "tls://bus:4222", "nats://[::1]:4222", "nats://u:p@bus:4222", "nats://a:1,nats://b:2"],
    )
    def test_addresses(self, environment: pytest.MonkeyPatch, url: str) -> None:
        environment.setenv("NATS_URL", url)

        assert load(Settings).nats_url == url

    def test_spaces_between_addresses_do_not_matter(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("NATS_URL", " nats://a:1 , nats://b:2, ")

        assert load(Settings).nats_url == "nats://a:1,nats://b:2"

    @pytest.mark.parametrize(
        "url",
        [
            "bus",
            "bus:4222",
            "http://bus",
            "nats://",
            "nats://:4222",
            "nats://bus:port",
            "nats://bus:70000",
            ",",
        ],
    )
    def test_what_is_no_address(self, environment: pytest.MonkeyPatch, url: str) -> None:
        environment.setenv("NATS_URL", url)

        (line,) = complaint()

        assert line.startswith("NATS_URL: must be nats://host:port")

    def test_addresses_are_shown_without_user_and_password(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("NATS_URL", "nats://user:p@ss@a:4222,nats://token@b,tls://c:1")

        assert load(Settings).nats_address == "nats://a:4222,nats://b,tls://c:1"

    def test_a_credentials_file(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        path = write(tmp_path / "nats.creds", CREDENTIALS)
        environment.setenv("NATS_CREDS", path)

        assert load(Settings).nats_creds == path

    @pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN NATS USER JWT-----\neyJ0\n"])
    def test_a_file_that_holds_no_credentials(
        self, environment: pytest.MonkeyPatch, tmp_path: Path, content: str
    ) -> None:
        environment.setenv("NATS_CREDS", write(tmp_path / "nats.creds", content))

        assert complaint() == [
            "NATS_CREDS: names a file that holds no NATS credentials (path of a NATS credentials file)"
        ]

    def test_a_credentials_file_that_is_not_there(
        self, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        environment.setenv("NATS_CREDS", str(tmp_path / "missing"))

        (line,) = complaint()

        assert line.startswith("NATS_CREDS: names a file that cannot be read: No such file or directory")


@pytest.mark.parametrize(("level", "known_as"), [("DEBUG", "debug"), ("Warning", "warning")])
def test_log_levels_in_any_case(environment: pytest.MonkeyPatch, level: str, known_as: str) -> None:
    environment.setenv("LOG_LEVEL", level)

    assert load(Settings).log_level == known_as


def test_a_rule_over_several_variables_speaks_for_itself(environment: pytest.MonkeyPatch) -> None:
    class Strict(Settings):
        def model_post_init(self, _context: object) -> None:
            raise ValueError("TEST_PORT: 80 is taken while TEST_SHAPE is ga")

    with pytest.raises(SettingsError, match=r"^TEST_PORT: 80 is taken while TEST_SHAPE is ga$"):
        settings.load(Strict)


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)
