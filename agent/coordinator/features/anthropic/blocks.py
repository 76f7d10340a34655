"""The blocks of a message's content: texts, images, documents, calls of tools, and what tools returned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from runners.llm.request import MAX_TEXT

BlockText = Annotated[str, Field(max_length=MAX_TEXT)]
CallName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$", examples=["get_weather"])]

Content = str | tuple[str]
"""A text, or in a tuple the address of an image."""


class ContentBlock(BaseModel, defer_build=True):
    """A part of a request: no conversions. Fields that it does not name, such as `cache_control`, have no effect."""

    # New versions of clients send new fields, and each of them would otherwise be locked out until the next version of the agent.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class TextBlock(ContentBlock):
    """A text."""

    type: Literal["text"]
    text: BlockText


class EncodedSource(ContentBlock):
    """An image in base64."""

    type: Literal["base64"]
    media_type: Annotated[str, Field(max_length=100, examples=["image/png"])]
    data: str


class LinkedSource(ContentBlock):
    """An image at an https address."""

    type: Literal["url"]
    url: Annotated[str, Field(min_length=1, max_length=4096)]


class ImageBlock(ContentBlock):
    """An image (PNG, JPEG, WebP or GIF), for models that see."""

    type: Literal["image"]
    source: Annotated[EncodedSource | LinkedSource, Field(discriminator="type")]

    @property
    def address(self) -> str:
        """The image's address, or its data as one."""
        source = self.source
        return (
            source.url
            if isinstance(source, LinkedSource)
            else f"data:{source.media_type};base64,{source.data}"
        )


class TextSource(ContentBlock):
    """The text of a document."""

    type: Literal["text"]
    data: BlockText


class DocumentBlock(ContentBlock):
    """A document as text. Files in other formats cannot be read here."""

    type: Literal["document"]
    source: TextSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(ContentBlock):
    """A result of a search."""

    type: Literal["search_result"]
    source: str
    title: str
    content: list[TextBlock]


class ToolReferenceBlock(ContentBlock):
    """A tool with `defer_loading` that the model may use from now on."""

    type: Literal["tool_reference"]
    tool_name: CallName


class ThinkingBlock(ContentBlock):
    """What the model thought before an earlier answer. It does not read this again."""

    type: Literal["thinking", "redacted_thinking"]


class ToolUseBlock(ContentBlock):
    """A call of a tool by the model."""

    type: Literal["tool_use"]
    id: Annotated[str, Field(min_length=1, max_length=100)]
    name: CallName
    input: dict[str, Any]


def _form(content: Any) -> str:
    return "blocks" if isinstance(content, list) else "text"


_Returned = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock


class ToolResultBlock(ContentBlock):
    """What a called tool returned. The model reads its images after the texts of all results of the message."""

    type: Literal["tool_result"]
    tool_use_id: Annotated[str, Field(min_length=1, max_length=100)]
    content: (
        Annotated[
            Annotated[BlockText, Tag("text")]
            | Annotated[list[Annotated[_Returned, Field(discriminator="type")]], Tag("blocks")],
            Discriminator(_form),
        ]
        | None
    ) = None
    is_error: bool | None = None


AnyBlock = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
)
Blocks = Annotated[
    Annotated[BlockText, Tag("text")]
    | Annotated[
        list[Annotated[AnyBlock, Field(discriminator="type")]],
        Tag("blocks"),
    ],
    Discriminator(_form),
]
Texts = Annotated[
    Annotated[BlockText, Tag("text")] | Annotated[list[TextBlock], Tag("blocks")], Discriminator(_form)
]


def contents(blocks: str | Sequence[ContentBlock]) -> Iterator[Content]:
    """Yield the texts and images of a content. Calls and thoughts have none."""
    if isinstance(blocks, str):
        yield from filter(None, [blocks])
        return
    for block in blocks:
        match block:
            case TextBlock(text=text) if text:
                yield text
            case ImageBlock():
                yield (block.address,)
            case DocumentBlock():
                yield "\n".join(filter(None, [block.title, block.context, block.source.data]))
            case SearchResultBlock():
                yield "\n".join([block.title, block.source, *(part.text for part in block.content)])
            case ToolReferenceBlock(tool_name=name):
                yield f"The tool {name} can be used now."
