/**
 * An id, a key or an address with a button to copy it.
 *
 *   <Copyable text={job.jobId} />                            shown in full
 *   <Copyable text={minerId} shown={shortId(minerId)} noun="miner id" />
 */
import { Icon } from "../icon.tsx";
import { notify } from "../toast.tsx";
import { Button } from "./button.tsx";

export function Copyable({
  text,
  shown = text,
  noun = "id",
}: {
  text: string;
  shown?: string;
  noun?: string;
}) {
  return (
    <span class="copyable">
      <span title={text}>{shown}</span>
      <button type="button" aria-label={`Copy the ${noun}`} onClick={() => copy(text, noun)}>
        <Icon name="copy" />
      </button>
    </span>
  );
}

/** Copy a text, and say so. */
export async function copy(text: string, noun: string): Promise<void> {
  notify(
    (await copied(text))
      ? `The ${noun} was copied.`
      : `This browser does not allow copying. The ${noun} is ${text}`,
  );
}

/** A button that copies a text which is shown elsewhere: <CopyButton text={code} noun="code" /> */
export function CopyButton({ text, noun }: { text: string; noun: string }) {
  const copy = async () => {
    const done = await copied(text);
    notify(
      done ? `The ${noun} was copied.` : "This browser does not allow copying. Select the text instead.",
    );
  };
  return <Button size="small" kind="plain" icon="copy" label={`Copy the ${noun}`} onClick={copy} />;
}

/** Copy a text to the clipboard. Pages served over plain HTTP have no clipboard API and copy a selected field instead. */
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
