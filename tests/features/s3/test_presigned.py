"""Signatures of URLs, compared with those of AWS's own library."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import parse_qs, quote, urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.coordinator.features.s3.signing import Credentials, presign

NOW = datetime(2026, 11, 27, 21, 12, 3, tzinfo=UTC)
TEXT = st.text(
    st.characters(codec="ascii", exclude_characters="\r\n\t", exclude_categories=["Cc"]), max_size=12
)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8)


@settings(max_examples=25)
@given(
    st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
    st.text("abz09-._/", min_size=1, max_size=20),
    st.dictionaries(NAMES, TEXT, max_size=3),
    st.dictionaries(
        NAMES.map(lambda name: f"x-amz-{name}"), st.text("abc /+=09", max_size=10).map(str.strip), max_size=2
    ),
    st.none() | st.just("a/token+="),
)
@example("GET", "0", {}, {"x-amz-a": "0  0"}, None)
def test_signatures_are_those_of_botocore(
    method: str, path: str, query: dict[str, str], headers: dict[str, str], token: str | None
) -> None:
    url = f"https://bucket.s3.eu-central-1.amazonaws.com/{quote(path)}"
    ours = presign(
        Credentials("AKID", "secret/+", token), method, url, region="eu-central-1", now=NOW.timestamp(), seconds=600,
        query=query, headers=headers,
    )  # fmt: skip
    auth = S3SigV4QueryAuth(BotoCredentials("AKID", "secret/+", token), "s3", "eu-central-1", expires=600)
    request = AWSRequest(method, url, headers=headers, params=query)
    with patch("botocore.auth.get_current_datetime", lambda **_: NOW):
        auth.add_auth(request)
    assert fields(ours) == fields(request.prepare().url)


def fields(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query, keep_blank_values=True)
