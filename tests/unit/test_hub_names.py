"""Names of models of the Hugging Face Hub, as people copy and write them."""

from __future__ import annotations

import pytest

from agent.hub_names import HubReference, form_after, form_of, parse_reference, pulled_name, safe_name

REPOSITORY = "Owner/Tiny-1.5B-GGUF"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        (REPOSITORY, HubReference(REPOSITORY)),
        (f"hf.co/{REPOSITORY}:q4_k_m", HubReference(REPOSITORY, "q4_k_m")),
        (f"https://huggingface.co/{REPOSITORY}/", HubReference(REPOSITORY)),
        (f"https://huggingface.co/{REPOSITORY}/tree/main", HubReference(REPOSITORY, None, None, "main")),
        (
            f"https://hf.co/{REPOSITORY}/resolve/v1/Q8_0/a.gguf?download=true",
            HubReference(REPOSITORY, None, "Q8_0/a.gguf", "v1"),
        ),
        ("tiny.en", None),
        (f"{REPOSITORY}:", None),
        (f"{REPOSITORY}/other", None),
        ("../owner/name", None),
        ("https://example.org/owner/name", None),
    ],
)
def test_a_model_of_the_hub_is_named_in_several_ways(text: str, reference: HubReference | None) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    ("file", "form"),
    [
        ("Tiny-1.5B-Q4_K_M.gguf", "Q4_K_M"),
        ("q8_0/tiny.q8_0-00001-of-00002.gguf", "Q8_0"),
        ("Tiny-UD-IQ2_XXS.gguf", "UD-IQ2_XXS"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("tiny-bf16.gguf", "BF16"),
        ("Qwen3-4B.gguf", None),
    ],
)
def test_the_name_of_a_file_states_the_form_of_the_weights(file: str, form: str | None) -> None:
    assert form_of(file) == form


def test_a_pulled_model_has_one_name_which_the_coordinator_derives_too() -> None:
    assert pulled_name(REPOSITORY, "Q4_K_M") == "owner-tiny-1.5b-q4_k_m"
    assert form_after(pulled_name(REPOSITORY), "owner-tiny-1.5b-q4_k_m")
    assert not form_after(pulled_name(REPOSITORY), "owner-tiny-1.5b-chat-q4_k_m")
    assert safe_name("../Über mich?") == "ber-mich"
    assert safe_name("…") == "model"
