import pytest
from starlette.datastructures import FormData, UploadFile
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # twilio ships no types

from trunkline_gateway.public_url import PublicUrl
from trunkline_gateway.reasons import Rejection
from trunkline_gateway.signature import SignatureVerifier

URL = "https://gw.example.com"
PATH = "/voice"


def verifier(*auth_tokens: str, base: str = URL) -> SignatureVerifier:
    return SignatureVerifier(PublicUrl(base), auth_tokens or ("12345",))


def sign(url: str, fields: dict[str, str], auth_token: str = "12345", algorithm: str = "HMAC_SHA1") -> str:
    return str(RequestValidator(auth_token).compute_signature(url, fields, algorithm))


FIELDS = {"CallSid": "CA1", "From": "+12025550100", "CalledZip": ""}
SIGNATURE = sign(f"{URL}{PATH}", FIELDS)


def webhook(
    signature: str | None,
    fields: dict[str, str] = FIELDS,
    query: str = "",
    settings: str | None = None,
    by: SignatureVerifier | None = None,
) -> Rejection | None:
    return (by or verifier()).webhook(PATH, query, FormData(list(fields.items())), signature, settings)


def test_the_vector_of_twilios_documentation() -> None:
    # Twilio: Webhooks Security, "Validating Signatures from Twilio".
    fields = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675310",
        "Digits": "1234",
        "From": "+14158675310",
        "To": "+18005551212",
    }
    by = verifier(base="https://example.com")

    rejection = by.webhook(
        "/myapp.php", "foo=1&bar=2", FormData(list(fields.items())), "L/OH5YylLD5NRKLltdqwSvS0BnU=", None
    )

    assert rejection is None


@pytest.mark.parametrize(
    "signature", ["xOtUNom2O6Ixz0xt8ODDv8MkQUY=", "UywbZ+VAu0CMaP+9Bth3u5vAvXQ="], ids=["plain", "slash"]
)
def test_the_websocket_is_signed_over_its_wss_address_with_or_without_a_slash(signature: str) -> None:
    # The address of these vectors is wss://gw.example.com/twilio/media; ours ends differently.
    address = "wss://gw.example.com/twilio/media" + ("/" if signature.startswith("U") else "")
    assert sign(address, {}) == signature

    ours = sign(address.replace("/twilio/media", "/media-stream"), {})

    assert verifier().websocket(ours) is None


def test_the_websocket_may_be_signed_with_its_port() -> None:
    assert verifier().websocket(sign("wss://gw.example.com:443/media-stream", {})) is None


@pytest.mark.parametrize(
    "address",
    [
        "https://gw.example.com/media-stream",
        "wss://other.example.com/media-stream",
        "wss://gw.example.com/voice",
    ],
)
def test_a_signature_over_another_address_opens_no_websocket(address: str) -> None:
    assert verifier().websocket(sign(address, {})) is Rejection.BAD_SIGNATURE


def test_a_signed_form_passes() -> None:
    assert webhook(SIGNATURE) is None


@pytest.mark.parametrize("signature", [None, ""])
def test_no_signature(signature: str | None) -> None:
    assert webhook(signature) is Rejection.MISSING_SIGNATURE
    assert verifier().websocket(signature) is Rejection.MISSING_SIGNATURE


@pytest.mark.parametrize("signature", ["x", "é" * 28, "A" * 10_000, SIGNATURE[:-1], SIGNATURE.swapcase()])
def test_wrong_signatures(signature: str) -> None:
    assert webhook(signature) is Rejection.BAD_SIGNATURE
    assert verifier().websocket(signature) is Rejection.BAD_SIGNATURE


@pytest.mark.parametrize(
    "fields", [FIELDS | {"From": "+12025550199"}, FIELDS | {"New": "1"}, {"CallSid": "CA1", "CalledZip": ""}]
)
def test_a_changed_form_is_not_the_signed_one(fields: dict[str, str]) -> None:
    assert webhook(SIGNATURE, fields) is Rejection.BAD_SIGNATURE


def test_the_query_is_part_of_what_is_signed() -> None:
    signature = sign(f"{URL}{PATH}?attach=2&started=5", FIELDS)

    assert webhook(signature, query="attach=2&started=5") is None
    assert webhook(signature, query="attach=3&started=5") is Rejection.BAD_SIGNATURE
    assert webhook(signature) is Rejection.BAD_SIGNATURE


def test_twilio_signs_a_secure_address_without_its_port() -> None:
    assert webhook(SIGNATURE, by=verifier(base="https://gw.example.com:8443")) is None


def test_while_rotating_either_auth_token_may_have_signed() -> None:
    by = verifier("new", "12345")

    assert webhook(SIGNATURE, by=by) is None
    assert webhook(sign(f"{URL}{PATH}", FIELDS, "new"), by=by) is None
    assert webhook(sign(f"{URL}{PATH}", FIELDS, "older"), by=by) is Rejection.BAD_SIGNATURE


def test_fields_that_were_added_after_signing_are_left_out_in_a_second_try() -> None:
    late = FIELDS | {"CallToken": "x", "StirVerstat": "TN-Validation-Passed-A"}

    assert webhook(SIGNATURE, late) is None
    assert webhook(sign(f"{URL}{PATH}", late), late) is None
    assert webhook(SIGNATURE, late | {"Other": "x"}) is Rejection.BAD_SIGNATURE


def test_repeated_fields_count_with_each_value() -> None:
    form = FormData([("A", "2"), ("A", "1"), ("B", "")])

    assert verifier().webhook(PATH, "", form, sign(f"{URL}{PATH}A1A2B", {}), None) is None


def test_shared_keys_sign_with_sha256() -> None:
    settings = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"
    signature = sign(f"{URL}{PATH}", FIELDS, algorithm="HMAC_SHA256")

    assert webhook(signature, settings=settings) is None
    assert webhook(signature) is Rejection.BAD_SIGNATURE
    assert webhook(signature, settings="key=1,algorithm=NONE") is Rejection.BAD_SIGNATURE


def test_an_uploaded_file_is_nothing_that_twilio_sends() -> None:
    form = FormData([("CallSid", "CA1"), ("file", UploadFile(None))])  # type: ignore[arg-type]  # never opened

    assert verifier().webhook(PATH, "", form, SIGNATURE, None) is Rejection.BAD_SIGNATURE


def test_without_an_auth_token_nothing_is_checked() -> None:
    unchecked = SignatureVerifier(PublicUrl("http://127.0.0.1:8080"), ())

    assert not unchecked.checks
    assert webhook(None, by=unchecked) is None
    assert unchecked.websocket(None) is None
