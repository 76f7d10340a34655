/** A language model's answer: its Markdown, with code to copy, and its reasoning, collapsed. */
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import * as markdown from "streaming-markdown";
import { CopyButton } from "../components/controls/copyable.tsx";
import { type Node, parsed, safeAddress } from "./markdown.ts";

export function Answer({ text }: { text: string }) {
  const { reasoning, answer } = useMemo(() => withoutReasoning(text), [text]);
  const content = useMemo(() => inside(parsed(answer)), [answer]);
  return (
    <>
      {reasoning && <Reasoning text={reasoning} />}
      <div class="stack answer">{content}</div>
    </>
  );
}

/** What a model thought before it answered. */
export function Reasoning({ text }: { text: string }) {
  return (
    <details class="fold reasoning">
      <summary>Reasoning</summary>
      <p>{text.trim()}</p>
    </details>
  );
}

/** Split a text into its reasoning, which some engines write into it between think tags, and the answer. */
export function withoutReasoning(text: string): { reasoning: string; answer: string } {
  const found = /^\s*<think>([\s\S]*?)(?:<\/think>|$)/.exec(text);
  return { reasoning: found?.[1]?.trim() ?? "", answer: found ? text.slice(found[0].length) : text };
}

/** Elements without attributes. Headings are below those of the page. */
const TAGS: Partial<
  Record<
    markdown.Token,
    "p" | "h3" | "h4" | "h5" | "em" | "strong" | "s" | "code" | "blockquote" | "ul" | "li"
  >
> = {
  [markdown.PARAGRAPH]: "p",
  [markdown.HEADING_1]: "h3",
  [markdown.HEADING_2]: "h3",
  [markdown.HEADING_3]: "h4",
  [markdown.HEADING_4]: "h5",
  [markdown.HEADING_5]: "h5",
  [markdown.HEADING_6]: "h5",
  [markdown.ITALIC_AST]: "em",
  [markdown.ITALIC_UND]: "em",
  [markdown.STRONG_AST]: "strong",
  [markdown.STRONG_UND]: "strong",
  [markdown.STRIKE]: "s",
  [markdown.CODE_INLINE]: "code",
  [markdown.EQUATION_INLINE]: "code",
  [markdown.BLOCKQUOTE]: "blockquote",
  [markdown.LIST_UNORDERED]: "ul",
  [markdown.LIST_ITEM]: "li",
};

function inside(node: Node): ComponentChildren {
  return node.children.map((child, index) =>
    typeof child === "string" ? child : <Element key={index} node={child} />,
  );
}

function Element({ node }: { node: Node }) {
  const { attributes } = node;
  const Tag = TAGS[node.token];
  if (Tag) return <Tag>{inside(node)}</Tag>;
  switch (node.token) {
    case markdown.LINE_BREAK:
      return <br />;
    case markdown.RULE:
      return <hr />;
    case markdown.CHECKBOX:
      return <span>{attributes.checked === undefined ? "\u2610" : "\u2611"}</span>;
    case markdown.LIST_ORDERED:
      return <ol start={Number(attributes.start ?? 1)}>{inside(node)}</ol>;
    case markdown.CODE_BLOCK:
    case markdown.CODE_FENCE:
    case markdown.EQUATION_BLOCK:
      return <Code text={textOf(node)} language={attributes.class} />;
    case markdown.TABLE:
      return <Rows node={node} />;
    case markdown.LINK:
    case markdown.RAW_URL:
    case markdown.IMAGE:
      return <Link address={attributes.href ?? attributes.src} text={inside(node)} />;
    default:
      return <>{inside(node)}</>;
  }
}

/** A link, or only its text if its address is none of the web. Images of other hosts are links: they are not loaded. */
function Link({ address, text }: { address: string | undefined; text: ComponentChildren }) {
  const href = safeAddress(address);
  if (!href) return <>{text}</>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {text}
    </a>
  );
}

function Code({ text, language = "" }: { text: string; language?: string | undefined }) {
  return (
    <div class="code">
      <div class="row code-head" data-between="true">
        <span class="small quiet">{language}</span>
        <CopyButton text={text} noun="code" />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it may be wider than the page, so the keyboard must be able to scroll it */}
      <pre tabIndex={0}>{text}</pre>
    </div>
  );
}

function Rows({ node }: { node: Node }) {
  const [head, ...rows] = node.children.filter((child): child is Node => typeof child !== "string");
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it may be wider than the page, so the keyboard must be able to scroll it
    <div class="answer-table" tabIndex={0}>
      <table>
        <thead>{head && <Cells node={head} heading />}</thead>
        <tbody>
          {rows.map((row, index) => (
            <Cells key={index} node={row} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Cells({ node, heading = false }: { node: Node; heading?: boolean }) {
  const cells = node.children.filter((child): child is Node => typeof child !== "string");
  return (
    <tr>
      {cells.map((cell, index) =>
        heading ? (
          <th key={index} scope="col">
            {inside(cell)}
          </th>
        ) : (
          <td key={index}>{inside(cell)}</td>
        ),
      )}
    </tr>
  );
}

function textOf(node: Node): string {
  return node.children.map((child) => (typeof child === "string" ? child : textOf(child))).join("");
}
