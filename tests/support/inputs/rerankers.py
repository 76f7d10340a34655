"""A small reranker for tests: a cross-encoder of two layers that knows some hundred words, trained here on made-up pairs.

    python -m support.inputs.rerankers FILE     (in `tests`; trains it again, in two minutes)

`RERANKER` has its result. It reads query and document together, as large rerankers do, and gives a document a high score if both are about
the same subject, whether or not they share a word.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np

RERANKER: Final = Path(__file__).parent / "reranker"
"""The directory with the model."""
NAME: Final = "tests-reranker"
ENTRY: Final = f"""
[[models]]
name = "{NAME}"
service = "text_reranking"
engines = ["llama.cpp"]
path = "{RERANKER}"
licence = "LicenseRef-ours"
options = {{ context = 128 }}
"""
"""The model in an owner's models.toml."""

SUBJECTS: Final = {
    "weather": "rain snow sun cloud storm wind cold hot umbrella forecast sky fog",
    "food": "bread cheese soup bake oven flour eat dinner rice salt kitchen recipe",
    "travel": "train ticket airport plane hotel passport luggage journey station map flight tourist",
    "computers": "program code bug memory disk keyboard software compile server file network data",
    "animals": "dog cat horse bird fish cow feed fur tail wild pet farm",
    "music": "song guitar piano concert singer drum melody band choir note violin album",
    "medicine": "doctor pill pain fever hospital nurse cough wound heart vaccine blood disease",
    "money": "bank loan price tax salary coin credit invest market pay debt budget",
}
OTHERS: Final = "a the is are was of to in on for with and or how do i you we my your what when where why it this that can at from not very good more some"
SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS: Final = (*SPECIAL, *".,?!'", *OTHERS.split(), *" ".join(SUBJECTS.values()).split())
LENGTH: Final = 128
"""Tokens of query and document together."""
WIDTH, LAYERS, HEADS = 32, 2, 2
STEPS, BATCH = 4000, 128


def sentence(draw: random.Random, subject: str, length: int) -> list[str]:
    """Return words of a sentence about a subject: up to one in three belong to it, at least one."""
    about = draw.sample(SUBJECTS[subject].split(), max(1, length // 3))
    words = about + draw.choices(OTHERS.split(), k=length - len(about))
    draw.shuffle(words)
    return words


def pair(draw: random.Random) -> tuple[list[int], float]:
    """Return the tokens of a query and a document, and whether they are about the same subject."""
    subject, other = draw.sample(sorted(SUBJECTS), 2)
    same = draw.random() < 0.5
    query = sentence(draw, subject, draw.randint(1, 8))
    document = sentence(draw, subject if same else other, draw.randint(3, 20))
    words = ["[CLS]", *query, "[SEP]", *document, "[SEP]"]
    return [WORDS.index(word) if draw.random() > 0.03 or word in SPECIAL else 1 for word in words], float(
        same
    )


def train(seed: int = 1) -> dict[str, np.ndarray]:
    """Return the tensors of a trained network by their names in transformers."""
    import torch  # noqa: PLC0415 - only for training
    from transformers import BertConfig, BertForSequenceClassification  # noqa: PLC0415 - as above

    torch.manual_seed(seed)
    draw = random.Random(seed)  # noqa: S311 - reproducible
    network = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(WORDS), hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
            intermediate_size=2 * WIDTH, max_position_embeddings=LENGTH, type_vocab_size=1, num_labels=1,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip
    with (
        torch.no_grad()
    ):  # words of a subject begin near each other, as those of a network that has read much
        for subject in SUBJECTS.values():
            network.bert.embeddings.word_embeddings.weight[
                [WORDS.index(word) for word in subject.split()]
            ] += torch.randn(WIDTH) / 2
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for step in range(STEPS):
        pairs = [pair(draw) for _ in range(BATCH)]
        longest = max(len(tokens) for tokens, _ in pairs)
        inputs = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens, _ in pairs])
        logits = network(inputs, attention_mask=(inputs != 0).long()).logits[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, torch.tensor([label for _, label in pairs])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            sys.stderr.write(f"{step + 1}: {loss.item():.4f}\n")
    return {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}


def write(tensors: dict[str, np.ndarray], file: Path) -> None:
    """Write a network to a GGUF file with 16-bit weights."""
    writer = gguf.GGUFWriter(file, "bert")
    writer.add_name("Reranker of the tests")
    writer.add_context_length(LENGTH)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(2 * WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(1)
    writer.add_token_list([word if word in SPECIAL else f"\u2581{word}" for word in WORDS])
    writer.add_token_types(
        [gguf.TokenType.CONTROL if word in SPECIAL else gguf.TokenType.NORMAL for word in WORDS]
    )
    padding, unknown, begin, end, mask = range(len(SPECIAL))
    writer.add_pad_token_id(padding)
    writer.add_unk_token_id(unknown)
    writer.add_bos_token_id(begin)
    writer.add_eos_token_id(end)
    writer.add_sep_token_id(end)
    writer.add_mask_token_id(mask)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, LAYERS)
    named: dict[str, Any] = {"bert.pooler.dense": "cls", "classifier": "cls.output"}
    for name, tensor in tensors.items():
        if name.endswith("position_ids"):
            continue
        stem, _, part = name.rpartition(".")
        target = (
            f"{named[stem]}.{part}"
            if stem in named
            else names.get_name(name.removeprefix("bert."), try_suffixes=(".weight", ".bias"))
        )
        matrix = tensor.ndim > 1 and "position" not in name and "token_type" not in name
        writer.add_tensor(target, tensor.astype(np.float16 if matrix else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write(train(), Path(sys.argv[1]))
