/** Asks how long to pause a machine or a GPU. */
import { useState } from "preact/hooks";
import { Button } from "../../components/controls/button.tsx";
import { Dialog } from "../../components/controls/dialog.tsx";
import { SelectField } from "../../components/controls/field.tsx";

export interface PauseTarget {
  name: string;
  /** Without one, the whole machine. */
  gpu?: string;
}

/** Return whether the owner can end a pause. One for a temperature, a program or the power ends automatically. */
export function endsByHand(reason: string | null): boolean {
  return reason !== null && !reason.startsWith("for ");
}

const HOUR = 3600;
const SPANS = [
  { value: "", label: "Until I resume it" },
  { value: String(HOUR / 2), label: "30 minutes" },
  { value: String(HOUR), label: "1 hour" },
  { value: String(4 * HOUR), label: "4 hours" },
  { value: String(12 * HOUR), label: "12 hours" },
  { value: String(24 * HOUR), label: "1 day" },
  { value: String(7 * 24 * HOUR), label: "1 week" },
];

export interface PauseDialogProps {
  target: PauseTarget | null;
  onClose: () => void;
  onPause: (target: PauseTarget, seconds: number | undefined) => Promise<void>;
}

export function PauseDialog({ target, onClose, onPause }: PauseDialogProps) {
  const [span, setSpan] = useState("");
  const pause = async () => {
    if (!target) return;
    await onPause(target, span ? Number(span) : undefined);
    onClose();
  };
  return (
    <Dialog
      title={target ? `Pause ${target.name}?` : ""}
      open={target !== null}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button kind="main" icon="pause" onClick={pause}>
            Pause
          </Button>
        </>
      }
    >
      <p>
        {target?.gpu ? "This GPU" : "The machine"} accepts no new jobs and frees its memory. Running jobs
        finish first.
      </p>
      <SelectField label="Duration" quiet value={span} onInput={setSpan} options={SPANS} />
    </Dialog>
  );
}
