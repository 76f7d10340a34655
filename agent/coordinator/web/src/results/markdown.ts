/** Parses Markdown into a tree of known elements. HTML stays text, and addresses other than web links are dropped. */
import {
  attr_to_html_attr,
  DOCUMENT,
  ITALIC_UND,
  parser,
  parser_end,
  parser_write,
  STRONG_UND,
  type Token,
} from "streaming-markdown";

export interface Node {
  token: Token;
  attributes: Record<string, string>;
  children: (Node | string)[];
}

const UNDERSCORES: Partial<Record<Token, string>> = { [ITALIC_UND]: "_", [STRONG_UND]: "__" };

/** Return the document's tree, also while the text is still being written. */
export function parsed(text: string): Node {
  const root = node(DOCUMENT);
  const open = [root];
  const last = () => open.at(-1) ?? root;
  const reader = parser({
    data: undefined,
    add_token: (_, token) => {
      if (token === DOCUMENT) return;
      const added = node(token);
      last().children.push(added);
      open.push(added);
    },
    end_token: () => {
      if (open.length === 1) return;
      const ended = open.pop();
      if (ended) unmark(last().children, ended);
    },
    add_text: (_, piece) => append(last().children, piece),
    set_attr: (_, attribute, value) => {
      last().attributes[attr_to_html_attr(attribute)] = value;
    },
  });
  parser_write(reader, text);
  parser_end(reader);
  completeAddresses(root);
  return root;
}

function node(token: Token): Node {
  return { token, attributes: {}, children: [] };
}

function append(children: Node["children"], text: string): void {
  const before = children.at(-1);
  if (typeof before === "string") children[children.length - 1] = before + text;
  else children.push(text);
}

/** Restore the underscores inside a word like snake_case, or inside an address, which are no emphasis. */
function unmark(children: Node["children"], ended: Node): void {
  const marks = UNDERSCORES[ended.token];
  const before = children.at(-2);
  const text = typeof before === "string" ? before : "";
  const inAddress = isCut(before) || (isCut(children.at(-3)) && !/\s/.test(text));
  if (!marks || !(inAddress || /[\p{L}\p{N}]$/u.test(text))) return;
  children.pop();
  for (const child of [marks, ...ended.children, marks]) {
    if (typeof child === "string") append(children, child);
    else children.push(child);
  }
}

/** The parser ends a link's address at its first closing bracket: add the text after it that belongs to the address. */
function completeAddresses({ children }: Node): void {
  children.forEach((child, index) => {
    if (typeof child === "string") return;
    completeAddresses(child);
    const name = addressOf(child);
    for (
      let rest = children[index + 1];
      isCut(child) && typeof rest === "string";
      rest = children[index + 1]
    ) {
      const more = /^[^\s)]*\)/.exec(rest)?.[0];
      if (more === undefined) return;
      child.attributes[name] += `)${more.slice(0, -1)}`;
      children[index + 1] = rest.slice(more.length);
    }
  });
}

function addressOf({ attributes }: Node): "href" | "src" {
  return "href" in attributes ? "href" : "src";
}

/** Whether a link's address has more opening than closing brackets. */
function isCut(child: Node | string | undefined): boolean {
  if (child === undefined || typeof child === "string") return false;
  const address = child.attributes[addressOf(child)] ?? "";
  return address.split("(").length > address.split(")").length;
}

/** Return an address that a link may have: a web page or an e-mail address. */
export function safeAddress(address: string | undefined): string | undefined {
  return address !== undefined && /^(https?:\/\/|mailto:)/i.test(address) ? address : undefined;
}
