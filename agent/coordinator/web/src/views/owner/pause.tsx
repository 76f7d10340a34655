/** Asks how long to pause a machine or a GPU. */
import { SelectField } from "../../components/controls/field.tsx";
import { FormDialog } from "../../components/controls/form-dialog.tsx";
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
  const pause = async ({ seconds }: { seconds: string }) => {
    if (target) await onPause(target, seconds ? Number(seconds) : undefined);
  };
  return (
    <FormDialog
      title={target ? `Pause ${target.name}?` : ""}
      action="Pause"
      open={target !== null}
      onClose={onClose}
      initial={{ seconds: "" }}
      onSend={pause}
    >
      {(field) => (
        <>
          <p>
            {target?.gpu ? "This GPU" : "The machine"} accepts no new jobs and frees its memory. Running jobs
            finish first.
          </p>
          <SelectField label="Duration" quiet {...field("seconds")} options={SPANS} />
        </>
      )}
    </FormDialog>
  );
}
