/**
 * An id, a key or an address that can be copied with one press.
 *
 *   <Copyable text={job.jobId} />                            shown in full, cut where there is no room
 *   <Copyable text={minerId} shown={shortId(minerId)} what="miner's id" />
 */
import { Icon } from "../icon.tsx";
import { notify } from "../toast.tsx";

export function Copyable({
  text,
  shown = text,
  what = "id",
}: {
  text: string;
  shown?: string;
  what?: string;
}) {
  const copy = async () => {
    notify(
      (await copied(text))
        ? `The ${what} was copied.`
        : `Copying is not allowed here. The ${what} is ${text}`,
    );
  };
  return (
    <span class="copyable">
      <span title={text}>{shown}</span>
      <button type="button" aria-label={`Copy the ${what}`} onClick={copy}>
        <Icon name="copy" />
      </button>
    </span>
  );
}

/** Puts a text where Paste finds it. Pages over plain http have no clipboard of their own; a selected field does it there. */
async function copied(text: string): Promise<boolean> {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}
