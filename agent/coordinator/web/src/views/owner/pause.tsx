/** Asks how long to pause a machine or a GPU. */
import { useState } from "preact/hooks";
import { Button } from "../../components/controls/button.tsx";
import { Dialog } from "../../components/controls/dialog.tsx";
import { SelectField } from "../../components/controls/field.tsx";
import { spans } from "../../format/time.ts";

export interface PauseTarget {
  name: string;
  /** Without one, the whole machine. */
  gpu?: string;
}

/** Return whether the owner can end a pause. One for a temperature, a program or the power ends automatically. */
export function endsByHand(reason: string | null): boolean {
  return reason !== null && !reason.startsWith("for ");
}

const SPANS = [{ value: "", label: "Until I resume it" }, ...spans(0.5, 1, 4, 12, 24, 168)];

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
